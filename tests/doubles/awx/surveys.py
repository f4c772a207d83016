"""What AWX takes for a survey, and for the answers to one; what variables a job then gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Types of questions → types of their defaults and of answers.
TYPES: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "textarea": str,
    "password": str,
    "multiplechoice": str,
    "multiselect": (list, str),
    "integer": int,
    "float": (int, float),
}
NEEDED = {"type": str, "question_name": str, "variable": str, "required": bool}


class Refused(ValueError):
    """AWX would answer 400; the message says why."""


def check(survey: Any) -> None:
    """Raise Refused unless AWX would keep this survey."""
    for field, kind in (("name", str), ("description", str), ("spec", list)):
        if field not in survey:
            raise Refused(f"Field '{field}' is missing from survey spec.")
        if not isinstance(survey[field], kind):
            raise Refused(f"Expected {kind.__name__} for field '{field}'.")
    if not survey["spec"]:
        raise Refused("'spec' doesn't contain any items.")
    seen: set[str] = set()
    for number, question in enumerate(survey["spec"]):
        for field, kind in NEEDED.items():
            if not isinstance(question.get(field), kind):
                raise Refused(f"'{field}' in survey question {number} expected to be {kind.__name__}.")
        if question["variable"] in seen:
            raise Refused(f"'variable' '{question['variable']}' duplicated in survey question {number}.")
        seen.add(question["variable"])
        _check_question(number, question)


def _check_question(number: int, question: Mapping[str, Any]) -> None:
    kind, default = question["type"], question.get("default", "")
    if kind not in TYPES:
        raise Refused(f"'{kind}' in survey question {number} is not one of the allowed question types.")
    if default != "" and not isinstance(default, TYPES[kind]):
        raise Refused(f"Default value {default} in survey question {number} is of another type.")
    for limit in ("min", "max"):
        if question.get(limit) is not None and not isinstance(question[limit], int):
            raise Refused(f"The {limit} limit in survey question {number} expected to be integer.")
    if kind in ("multiplechoice", "multiselect"):
        if "choices" not in question:
            raise Refused(f"Survey question {number} of type {kind} must specify choices.")
        defaults = default.splitlines() if isinstance(default, str) else default
        if (kind == "multiplechoice" and len(defaults) > 1) or set(defaults) - set(_choices(question)):
            raise Refused(f"Default choice of survey question {number} must be one of the choices listed.")
    if isinstance(default, str) and default.startswith("$encrypted$"):
        raise Refused(f"$encrypted$ is a reserved keyword, in survey question {number}.")


def shown(survey: Mapping[str, Any]) -> dict[str, Any]:
    """A survey as the API gives it back: a default of a password is hidden."""
    return (
        {
            **survey,
            "spec": [
                {**question, "default": "$encrypted$"}
                if question["type"] == "password" and question.get("default")
                else dict(question)
                for question in survey.get("spec", ())
            ],
        }
        if survey
        else {}
    )


def launched(template: Mapping[str, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a job: the template's own, what the survey has as defaults, the answers.

    Raises Refused, as the launch would be: for a variable that no question asks for (unless the template asks for
    variables), a question without an answer, an answer that the question does not allow.
    """
    spec = template["survey_spec"]["spec"] if template.get("survey_enabled") else []
    wrong = [error for question in spec for error in _errors(question, answers)]
    if wrong:
        raise Refused(" ".join(wrong))
    own = dict(template.get("extra_vars") or {})
    asked = {question["variable"] for question in spec}
    others = {name for name, value in answers.items() if name not in asked and own.get(name) != value}
    if others and not template.get("ask_variables_on_launch"):
        raise Refused(f"Variables {', '.join(sorted(others))} are not allowed on launch.")
    for question in spec:
        default = question.get("default")
        if default is not None and not _errors(question, {question["variable"]: default}):
            own[question["variable"]] = default
    return {**own, **answers}


def _choices(question: Mapping[str, Any]) -> list[str]:
    choices = question["choices"]
    # As lines, an empty one is none.
    return [line for line in choices.splitlines() if line.strip()] if isinstance(choices, str) else list(choices)


def _errors(question: Mapping[str, Any], answers: Mapping[str, Any]) -> list[str]:
    variable, kind = question["variable"], question["type"]
    if variable not in answers:
        return [f"'{variable}' value missing."] if question["required"] else []
    answer = answers[variable]
    if not isinstance(answer, list if kind == "multiselect" else TYPES[kind]) or isinstance(answer, bool):
        return [f"Value {answer} for '{variable}' expected to be {kind}."]
    if kind in ("multiplechoice", "multiselect"):
        given = answer if isinstance(answer, list) else [answer]
        bad = [value for value in given if value not in _choices(question)]
        return [f"Value {value} for '{variable}' expected to be one of {_choices(question)}." for value in bad]
    size = answer if kind in ("integer", "float") else len(answer)
    low, high = question.get("min"), question.get("max")
    if low not in ("", None) and size < low:
        return [f"'{variable}' value is too small (must be at least {low})."]
    if high not in ("", None) and size > high:
        return [f"'{variable}' value is too large (must be no more than {high})."]
    return []
