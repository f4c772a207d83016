"""What is generated is up to date, and the generators refuse what they cannot say."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import gen_docs, gen_engine_options

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
