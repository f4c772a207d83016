"""Apply: a document of any number of objects → validated whole, planned, written in one transaction.

This one planner decides for every surface: bulk and single modules, API, portal, check mode and diff.
"""

from __future__ import annotations

from streamfleet_panel.apply.plan import Options, Result
from streamfleet_panel.apply.problems import ApiError, Problem
from streamfleet_panel.apply.run import Outcome, apply_document, apply_one

__all__ = ["ApiError", "Options", "Outcome", "Problem", "Result", "apply_document", "apply_one"]
