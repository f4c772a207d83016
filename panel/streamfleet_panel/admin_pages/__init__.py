"""Pages for administrators: Django's admin in Unfold's looks. Every change goes through the planner (``apply``)."""
