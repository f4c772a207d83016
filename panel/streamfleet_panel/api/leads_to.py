"""The filter of domains and panel domains by where their CNAMEs lead."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from ninja.params.functions import Query

from streamfleet_panel.apply.problems import ApiError, Problem, shown
from streamfleet_panel.domains.targets import led_to

#: Each name with a dot before it is a condition of its own, and databases take only so many.
MOST_NAMES = 50
LEADS_TO = Query(
    None,
    max_length=2000,
    description=f"Names, at most {MOST_NAMES}, with commas between: only domains whose CNAME, as it was seen last, "
    "leads to one of them; with a dot before it, to one below it.",
)


def leading_to(queryset: QuerySet[Any], leads_to: str | None) -> QuerySet[Any]:
    """Those that lead to one of the names; all where it is None. Raises ApiError where there are too many names."""
    if leads_to is None:
        return queryset
    names = list(dict.fromkeys(filter(None, leads_to.split(","))))
    if len(names) > MOST_NAMES:
        message = f"has {len(names)} names, and may have {MOST_NAMES}"
        fix = f"Ask several times, with at most {MOST_NAMES} names each."
        raise ApiError("invalid_document", f"leads_to: {message}", [Problem("leads_to", shown(leads_to), message, fix)])
    return queryset.filter(led_to(names))
