"""streamfleet_token."""

from __future__ import annotations

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner

MODULE = "streamfleet_token"


def test_made_once_shown_once(runner: Runner, panel: Panel, owner: str) -> None:
    me = {"name": "billing", "account": owner, "expires_at": "2099-12-31T00:00:00Z"}
    task = {"diff": True, "ignore_errors": True}
    keep = {
        "ansible.builtin.copy": {"content": "{{ made.token }}", "dest": "{{ kept }}", "mode": "0600"},
        "no_log": True,
    }
    kept = runner.directory / "token"
    results = runner.tasks(
        [
            {"name": "check", MODULE: me, "check_mode": True, **task},
            {"name": "make", MODULE: me, "register": "made", **task},
            {"name": "keep", **keep},
            {"name": "again", MODULE: me, **task},
            {"name": "use", "streamfleet_customer_info": {"token": "{{ made.token }}"}},
            {"name": "replace in check mode", MODULE: {**me, "replace": True}, "check_mode": True, **task},
            {"name": "replace", MODULE: {**me, "replace": True}, "register": "second", **task},
            {"name": "old one", "streamfleet_customer_info": {"token": "{{ made.token }}"}, "ignore_errors": True},
            {"name": "new one", "streamfleet_customer_info": {"token": "{{ second.token }}"}},
            {"name": "gone in check mode", MODULE: {**me, "state": "absent"}, "check_mode": True, **task},
            {"name": "gone", MODULE: {**me, "state": "absent"}, **task},
            {"name": "gone again", MODULE: {**me, "state": "absent"}, **task},
            {"name": "node", MODULE: {"name": "for-base1", "scope": "node:base1"}, **task},
            {"name": "bad scope", MODULE: {"name": "x", "scope": "everything"}, **task},
            {"name": "bad node", MODULE: {"name": "x", "scope": "node:none"}, **task},
            {"name": "bad account", MODULE: {"name": "x", "account": "none-such"}, **task},
            {"name": "both", MODULE: {"name": "x", "account": owner, "scope": "worker"}, **task},
        ],
        vars={"kept": str(kept)},
    )
    token = kept.read_text()
    assert token.startswith("sft_")
    assert "censored" in results["make"], "what makes a token hides its output"
    # The rest of a run may not show it either; run() would have seen it, had it known the token before.
    assert token not in str(results)
    assert results["check"]["changed"] is True
    assert results["check"]["diff"]["before"] == {}
    assert results["check"]["diff"]["after"] == {"billing": {"scope": "account", "expires_at": "2099-12-31T00:00:00Z"}}
    assert results["make"]["changed"] is True
    assert results["again"]["changed"] is False
    assert results["again"]["info"]["account"] == owner
    assert [item["username"] for item in results["use"]["customers"]] == [owner]
    assert results["replace in check mode"]["changed"] is True
    assert results["replace"]["changed"] is True
    assert "The token is not known, or has expired" in results["old one"]["msg"]
    assert "Set token (STREAMFLEET_TOKEN) to a valid token of this panel." in results["old one"]["msg"]
    assert not results["new one"].get("failed")
    assert results["gone in check mode"]["changed"] is True
    assert results["gone"]["changed"] is True
    assert len(results["gone"]["revoked"]) == 1
    assert results["gone again"]["changed"] is False
    assert results["node"]["changed"] is True
    assert (
        "scope: is not a scope (given: 'everything') Fix: Use account, node:<name>, worker or metrics."
        in results["bad scope"]["msg"]
    )
    assert "scope: there is no such node (given: 'node:none')" in results["bad node"]["msg"]
    assert "account: there is no such account (given: 'none-such')" in results["bad account"]["msg"]
    assert "belongs to a machine and to no account. Leave account out" in results["both"]["msg"]
