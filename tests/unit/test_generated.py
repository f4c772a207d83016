"""What is generated is up to date, and the generators refuse what they cannot say."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import gen_awx_surveys, gen_docs, gen_engine_options

ROOT = Path(__file__).resolve().parents[2]


def test_engine_options_are_up_to_date() -> None:
    for path, text in gen_engine_options.generate(ROOT).items():
        assert (ROOT / path).read_text() == text, f"{path}: run scripts/gen_engine_options.py"


def test_reference_pages_are_up_to_date() -> None:
    pages = gen_docs.generate(ROOT)
    for path, text in pages.items():
        assert (ROOT / path).is_file(), f"{path} is missing: run scripts/gen_docs.py"
        assert (ROOT / path).read_text() == text, f"{path}: run scripts/gen_docs.py"
    for folder in ("modules", "roles"):
        for path in (ROOT / "docs" / folder).glob("*.md"):
            assert path.relative_to(ROOT) in pages, f"{path} has no source any more: run scripts/gen_docs.py"


def test_surveys_are_up_to_date() -> None:
    files = gen_awx_surveys.generate(ROOT)
    for path, text in files.items():
        assert (ROOT / path).is_file(), f"{path} is missing: run scripts/gen_awx_surveys.py"
        assert (ROOT / path).read_text() == text, f"{path}: run scripts/gen_awx_surveys.py"
    assert {path.name for path in (ROOT / "awx/surveys").iterdir()} == {path.name for path in files}


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"questions": {"emial": "E-mail"}}, "customer: emial: streamfleet_customer has no such option"),
        ({"questions": {"reseller": "x"}, "prefix": "client_"}, "customer.yml does not read client_reseller"),
        ({"module": "streamfleet_media_service", "questions": {"name": "x", "suspended": "x"}}, "does not read"),
        (
            {"questions": {"api_access": {"ask": "x", "like": "email"}}},
            "reads customer_api_access as bool, but the option is",
        ),
    ],
)
def test_a_survey_of_which_option_and_playbook_do_not_agree_is_refused(plan: dict[str, object], said: str) -> None:
    whole = {"title": "t", "description": "d", "playbook": "customer"}
    whole |= {"module": "streamfleet_customer", "prefix": "customer_"}
    with pytest.raises(gen_awx_surveys.SurveyError, match=said):
        gen_awx_surveys.survey("customer", {**whole, **plan})


def test_a_question_has_what_its_option_says() -> None:
    option = gen_awx_surveys.Option("str", ("a", "b"), False, False, "Which.")
    plan = {"playbook": "customer", "module": "m", "prefix": "customer_"}
    made = gen_awx_surveys.question("s", plan, "status", "Status", {"status": option})
    assert (made["type"], made["choices"], made["default"], made["required"]) == (
        "multiplechoice",
        ["", "a", "b"],
        "",
        False,
    )
    must = gen_awx_surveys.Option("str", ("a", "b"), True, False, "Which.")
    assert gen_awx_surveys.question("s", plan, "status", "Status", {"status": must})["choices"] == ["a", "b"]
    secret = gen_awx_surveys.Option("str", (), False, True, "What.")
    assert gen_awx_surveys.question("s", plan, "name", "Name", {"name": secret})["type"] == "password"


def test_a_field_of_two_engines_must_be_of_one_type() -> None:
    def engine(kind: str) -> dict[str, object]:
        return {"title": "E", "fields": {"genre": {"schema": {"type": kind}, "description": "d"}}}

    gen_engine_options.collect({"a": engine("string"), "b": engine("string")})
    with pytest.raises(gen_engine_options.SpecError, match=r"b: fields\.genre: another engine declares genre"):
        gen_engine_options.collect({"a": engine("string"), "b": engine("integer")})


def test_a_field_of_no_one_type_is_refused() -> None:
    with pytest.raises(gen_engine_options.SpecError, match=r"must be exactly one of"):
        gen_engine_options.option({"type": ["string", "integer"]}, "x")


def test_credentials_are_secret_and_nested_types_survive() -> None:
    spec = {
        "title": "E",
        "fields": {
            "m": {
                "description": "d",
                "schema": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["n"],
                        "properties": {"n": {"type": "string"}, "f": {"type": ["string", "null"], "enum": ["x", None]}},
                    },
                },
            }
        },
        "credentials": {"k": {"description": "d", "schema": {"type": ["string", "null"]}}},
    }
    options, docs = gen_engine_options.collect({"e": spec})
    assert options == {
        "m": {
            "type": "list",
            "elements": "dict",
            "options": {"n": {"type": "str", "required": True}, "f": {"type": "str", "choices": ["x"]}},
        },
        "k": {"type": "str", "no_log": True},
    }
    assert docs["k"]["description"][-1] == "V(null) for none."


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("See M(streamfleet_apply).", "See [streamfleet_apply](streamfleet_apply.md)."),
        ("Like M(ansible.builtin.copy).", "Like `ansible.builtin.copy`."),
        ("Set O(a=b) and O(streamfleet_apply#module:prune).", "Set `a=b` and `prune`."),
        ("V(null), E(X), RV(y), C(z)", "`null`, `X`, `y`, `z`"),
        (["One.", "Two  words."], "One. Two words."),
        (None, ""),
    ],
)
def test_markup(text: str | list[str] | None, markdown: str) -> None:
    assert gen_docs.prose(text) == markdown
