"""filter_plugins/streamfleet.py: answers of surveys."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from filter_plugins.streamfleet import FilterModule, streamfleet_answer, streamfleet_unknown

OMIT = object()


@pytest.mark.parametrize("kind", ["text", "number", "choice", "bool", "list", "data", "secret"])
@pytest.mark.parametrize("empty", ["", "  ", "\n", None])
def test_an_empty_answer_is_omitted(kind: str, empty: Any) -> None:
    assert streamfleet_answer(empty, OMIT, kind) is OMIT


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        ("text", " Rock FM ", "Rock FM"),
        ("text", "none", "none"),
        ("text", "#{x} {{ y }} ]]>", "#{x} {{ y }} ]]>"),
        ("secret", " with blanks ", " with blanks "),
        ("secret", "none", "none"),
        ("number", "0", 0),
        ("number", " 100 ", 100),
        ("number", "Unlimited", None),
        ("number", "none", None),
        ("number", "null", None),
        ("choice", "bronze", "bronze"),
        ("choice", "None", None),
        ("bool", "yes", True),
        ("bool", "No", False),
        ("bool", "TRUE", True),
        ("bool", "off", False),
        ("list", "a, b\nc\n", ["a", "b", "c"]),
        ("list", "none", None),
        ("data", '[{"name": "/x"}]', [{"name": "/x"}]),
        ("data", "null", None),
    ],
)
def test_answers(kind: str, answer: str, value: Any) -> None:
    assert streamfleet_answer(answer, OMIT, kind) == value


@pytest.mark.parametrize("value", [0, False, 7, [], {}, ["a"], {"a": 1}])
@pytest.mark.parametrize("kind", ["text", "number", "bool", "list", "data"])
def test_what_is_no_text_is_left_alone(kind: str, value: Any) -> None:
    assert streamfleet_answer(value, OMIT, kind) is value


@pytest.mark.parametrize(
    ("kind", "answer", "message"),
    [
        ("number", "ten", "'ten' must be a whole number, or unlimited"),
        ("number", "1.5", "must be a whole number"),
        ("number", "٣", "must be a whole number"),
        ("bool", "maybe", "'maybe' must be yes or no"),
        ("data", "[", "not JSON: Expecting value"),
        ("lots", "x", "kind 'lots' must be one of text, number"),
    ],
)
def test_wrong_answers_say_what_is_right(kind: str, answer: str, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        streamfleet_answer(answer, OMIT, kind)


def test_a_secret_in_broken_data_is_not_repeated() -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        streamfleet_answer('{"password": "canary"', OMIT, "data")
    assert "canary" not in str(caught.value)


def test_unknown_variables_are_found() -> None:
    names = ["customer_b", "customer_name", "customer_a", "other_x"]
    assert streamfleet_unknown(names, "customer_", ["name"]) == ["customer_a", "customer_b"]


def test_ansible_finds_them() -> None:
    assert set(FilterModule().filters()) == {"streamfleet_answer", "streamfleet_unknown"}
