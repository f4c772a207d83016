"""module_utils/streamfleet/documents.py, arguments.py and results.py: pure functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as property_of
from hypothesis import strategies as st
from streamfleet import documents, errors, results
from streamfleet.arguments import given
from streamfleet.documents import MASK, is_secret, masked, merge, read_files

# Reading --------------------------------------------------------------------------------------------------------------


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_files_are_merged_in_order_and_errors_find_their_way_back(tmp_path: Path) -> None:
    a = write(tmp_path / "a.yml", "customers:\n  - {username: a}\n  - {username: b}\nnodes:\n")
    b = write(tmp_path / "b.json", json.dumps({"customers": [{"username": "c"}], "media_services": [{"slug": "s"}]}))
    merged, sources = merge([("", {"customers": [{"username": "inline"}]}), *read_files([a, b])])
    assert [item["username"] for item in merged["customers"]] == ["inline", "a", "b", "c"]
    assert merged["media_services"] == [{"slug": "s"}]
    assert sources.locate("customers[0].email") == "customers[0].email"
    assert sources.locate("customers[2].email") == f"{a}: customers[1].email"
    assert sources.locate("customers[3]") == f"{b}: customers[0]"
    assert sources.locate("media_services[0].mounts[2].name") == f"{b}: media_services[0].mounts[2].name"
    assert sources.locate("") == ""


def test_a_directory_is_its_files_by_name(tmp_path: Path) -> None:
    write(tmp_path / "2.yaml", "customers: [{username: second}]")
    write(tmp_path / "1.yml", "customers: [{username: first}]")
    write(tmp_path / "notes.txt", "not read")
    merged, _ = merge(read_files([str(tmp_path)]))
    assert [item["username"] for item in merged["customers"]] == ["first", "second"]


def test_an_empty_file_is_an_empty_document(tmp_path: Path) -> None:
    assert merge(read_files([write(tmp_path / "a.yml", "---\n")]))[0] == {}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yml", "customers: [", r"a\.yml:\d+:\d+: not YAML: "),
        ("a.yml", "customers: !vault |\n  x\n", r"a\.yml:1:12: not YAML: could not determine a constructor"),
        ("a.yml", "a: !!python/object/apply:os.system [x]", "not YAML: could not determine a constructor"),
        ("a.yml", "customers:\n  - username: a\n    username: b\n", r"a\.yml:3:5: .*key 'username' is given twice"),
        ("a.json", '{"customers": [}', r"a\.json:1:16: not JSON"),
        ("a.json", '{"nodes": [{"name": "a", "name": "b"}]}', r"a\.json: key 'name' is given twice"),
        ("a.yml", "$ANSIBLE_VAULT;1.1;AES256\n3132\n", "encrypted by Ansible Vault.*include_vars"),
        ("a.txt", "", r"must end in \.yml, \.yaml or \.json"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(errors.BadOption, match=message):
        read_files([write(tmp_path / name, text)])


def test_missing_unreadable_and_empty(tmp_path: Path) -> None:
    with pytest.raises(errors.BadOption, match=r"none\.yml' does not exist on the host where the module runs"):
        read_files([str(tmp_path / "none.yml")])
    (tmp_path / "latin.yml").write_bytes(b"customers: \xff")
    with pytest.raises(errors.BadOption, match="it is not UTF-8 text"):
        read_files([str(tmp_path / "latin.yml")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.BadOption, match="holds no file that ends in"):
        read_files([str(tmp_path / "empty")])


def test_yaml_anchors_still_work(tmp_path: Path) -> None:
    text = "media_services:\n  - &base {slug: a, engine: icecast}\n  - {<<: *base, slug: b}\n"
    merged, _ = merge(read_files([write(tmp_path / "a.yml", text)]))
    assert merged["media_services"][1] == {"slug": "b", "engine": "icecast"}


def test_every_shape_error_is_listed_and_no_value_shown() -> None:
    with pytest.raises(errors.Invalid) as caught:
        merge(
            [
                ("", {"customer": [], "customers": {"password": "canary"}, "nodes": ["canary", {}]}),
                ("b.yml", ["canary"]),
            ]
        )
    text = str(caught.value)
    assert [error.path for error in caught.value.errors] == ["customer", "customers", "nodes[0]", "b.yml: document"]
    assert "customers: must be a list, not dict Fix: Start each object with a dash." in text
    assert (
        "Use one of reseller_plans, customers, nodes, media_services, playlists, djs, schedules, relays, "
        "domains, panel_domains, mounts or media_users." in text
    )
    assert "canary" not in text


# Secrets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["password", "source_password", "admin_password", "stream_key", "token", "client_secret"]
)
def test_secret_names(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["host_key", "username", "passwords_file", "stream_keys_max", "tokens"])
def test_other_names(name: str) -> None:
    assert not is_secret(name)


def test_every_credential_of_every_engine_is_known_as_secret() -> None:
    from scripts.gen_engine_options import ROOT, engine_specs

    names = {name for spec in engine_specs(ROOT).values() for name in spec.get("credentials") or {}}
    assert names
    assert [name for name in names if not is_secret(name)] == []


def test_masking_reaches_everything_and_leaves_the_original() -> None:
    data = {"customers": [{"username": "a", "password": "canary"}], "x": {"stream_key": ["canary"], "token": None}}
    assert masked(data) == {
        "customers": [{"username": "a", "password": MASK}],
        "x": {"stream_key": MASK, "token": None},
    }
    assert data["customers"][0]["password"] == "canary"  # type: ignore[index]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "password", "stream_key", "mounts"]), inner, max_size=3)
    ),
    max_leaves=10,
)


def secrets_of(data: Any) -> list[Any]:
    if isinstance(data, dict):
        own = [value for key, value in data.items() if is_secret(key)]
        return own + [found for key, value in data.items() if not is_secret(key) for found in secrets_of(value)]
    if isinstance(data, list):
        return [found for value in data for found in secrets_of(value)]
    return []


@property_of(json_values)
def test_nothing_secret_is_left(data: Any) -> None:
    assert all(value in (MASK, None) for value in secrets_of(masked(data)))


# Omitted and null -----------------------------------------------------------------------------------------------------


def test_null_is_kept_and_omitted_is_not() -> None:
    validated = {"a": None, "b": None, "c": 1, "mounts": [{"name": "/x", "fallback": None, "format": None}]}
    raw = {"a": None, "c": "1", "mounts": [{"name": "/x", "fallback": None}]}
    assert given(validated, raw) == {"a": None, "c": 1, "mounts": [{"name": "/x", "fallback": None}]}


def test_text_that_ansible_parsed_has_no_nulls() -> None:
    assert given({"m": {"a": None, "b": 1}}, {"m": "b=1"}) == {"m": {"b": 1}}
    assert given({"m": [{"a": None, "b": 1}]}, {"m": '[{"b": 1}]'}) == {"m": [{"b": 1}]}
    assert given({"m": ["a", "b"]}, {"m": "a,b"}) == {"m": ["a", "b"]}


@property_of(json_values)
def test_what_was_given_whole_comes_back_whole(data: Any) -> None:
    assert given(data, data) == data


# Results --------------------------------------------------------------------------------------------------------------


def result(action: str, **more: Any) -> dict[str, Any]:
    return {"kind": "customer", "key": "a", "path": "customers[0]", "action": action, "changes": {}, **more}


ANSWER = {"changed": True, "summary": {"created": 1}, "nodes": {"n": 1}}


def test_diffs_are_grouped_by_object_and_mask_secrets() -> None:
    created = result(
        "created",
        changes={"email": {"before": None, "after": "a@b.c"}, "password": {"before": None, "after": "canary"}},
    )
    updated = result(
        "updated", changes={"name": {"before": "A", "after": "B"}, "password": {"before": "canary", "after": "canary"}}
    )
    deleted = result("deleted", changes={"name": {"before": "A", "after": None}})
    data = results.apply_result({**ANSWER, "results": [created, result("unchanged"), updated, deleted]}, diff=True)
    assert "canary" not in json.dumps(data)
    first, second, third = data["diff"]
    assert (first["before"], first["after"]) == ("", {"email": "a@b.c", "password": MASK})
    assert second["before"] == {"name": "A", "password": MASK}
    assert second["after"] == {"name": "B", "password": f"{MASK} (changed)"}
    assert (third["before"], third["after"]) == ({"name": "A"}, "")
    assert {entry["before_header"] for entry in data["diff"]} == {"customer a"}


def test_no_diff_unless_asked() -> None:
    assert "diff" not in results.apply_result({**ANSWER, "results": [result("created")]}, diff=False)


def test_a_single_object_is_returned_under_its_kind() -> None:
    item = result("created", object={"username": "a", "password": "canary"})
    data = results.object_result({**ANSWER, "results": [item]}, "customer", diff=True)
    assert data["customer"] == {"username": "a", "password": MASK}
    assert data["operation"] == "created"


def test_failures_name_the_file() -> None:
    sources = documents.Sources()
    sources.add("customers", 0, "a.yml")
    error = errors.Invalid(
        "Wrong.", code="invalid_document", status=422, errors=[errors.FieldError("customers[1].x", "m", 1, "f")]
    )
    data = results.failure(error, sources)
    assert data["msg"] == "Wrong.\n- a.yml: customers[1].x: m (given: 1) Fix: f"
    assert data["errors"] == [{"path": "a.yml: customers[1].x", "value": 1, "message": "m", "fix": "f"}]
    assert (data["code"], data["status"]) == ("invalid_document", 422)


def test_whoever_wrote_one_object_reads_its_options() -> None:
    error = errors.Invalid(
        "Wrong.", errors=[errors.FieldError("customers[0].email", "m"), errors.FieldError("customers[0]", "n")]
    )
    assert [item.path for item in results.without_prefix(error, "customers[0]").errors] == ["email", ""]


def test_long_lists_are_cut_in_the_message_only() -> None:
    error = errors.Invalid("Wrong.", errors=[errors.FieldError(f"p{n}", "m") for n in range(30)])
    assert str(error).count("\n- p") == errors.SHOWN_ERRORS
    assert str(error).endswith("- and 10 more")
    assert len(results.failure(error)["errors"]) == 30
