"""Whether tests are to run that need more of a node's first runs than that the roles were run."""

from __future__ import annotations

import pytest

#: Of files with roles of their own: compares what check, first and second run have changed.
PREDICTS = "test_roles_predict_what_they_change_and_change_it_once"


def chosen(request: pytest.FixtureRequest, file: str, *names: str) -> bool:
    """Whether one of these tests of a file (its name without suffix) is to run."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    return any(item.path.stem == file and item.originalname in names for item in items)
