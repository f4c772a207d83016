"""streamfleet_customer_info, streamfleet_reseller_plan_info, streamfleet_node_info, streamfleet_media_service_info.

And streamfleet_playlist_info, streamfleet_dj_info, streamfleet_schedule_info, streamfleet_relay_info,
streamfleet_domain_info, streamfleet_panel_domain_info, streamfleet_mount_info, streamfleet_media_user_info.
"""

from __future__ import annotations

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner

KEYS = {
    "customer": "username",
    "reseller_plan": "name",
    "node": "name",
    "media_service": "slug",
    "playlist": "name",
    "dj": "username",
    "schedule": "name",
    "relay": "name",
    "domain": "name",
    "panel_domain": "name",
    "mount": "name",
    "media_user": "name",
}


def test_lists_and_filters(runner: Runner, panel: Panel) -> None:
    password, word = runner.canary("canary-info-source"), runner.canary("canary-info-dj")
    document = {
        "reseller_plans": [{"name": "info-plan"}],
        "customers": [
            {"username": "info-rs", "reseller_plan": "info-plan"},
            {"username": "info-a", "reseller": "info-rs", "name": "Ann Info"},
            {"username": "info-b", "status": "disabled"},
        ],
        "media_services": [
            {"slug": "info-fm", "customer": "info-a", "engine": "icecast", "source_password": password},
            {"slug": "info-tv", "customer": "info-a", "engine": "nginx_rtmp", "suspended": True},
            {"slug": "info-am", "customer": "info-b", "engine": "icecast", "autodj": {}},
        ],
        "playlists": [
            {"media_service": "info-fm", "name": "info-all", "folder": "."},
            {"media_service": "info-fm", "name": "info-jingles", "type": "jingle", "folder": "j", "every_minutes": 20},
            {"media_service": "info-am", "name": "info-am-all", "folder": "."},
        ],
        "djs": [
            {"media_service": "info-am", "username": "info-anna", "name": "Anna Info", "password": word},
            {"media_service": "info-am", "username": "info-ben"},
        ],
        "schedules": [
            {"media_service": "info-am", "name": "info-show", "dj": "info-anna", "start": "09:00", "end": "10:00"},
            {"media_service": "info-am", "name": "info-other", "dj": "info-ben", "start": "10:00", "end": "11:00"},
        ],
        "relays": [
            {"media_service": "info-fm", "name": "info-in", "direction": "in", "address": "https://a.example/live"},
            {
                "media_service": "info-fm",
                "name": "info-out",
                "direction": "out",
                "address": "icecast://a.example/live",
                "password": runner.canary("canary-info-relay"),
            },
        ],
        "domains": [
            {"media_service": "info-fm", "name": "info.example.com"},
            {"media_service": "info-tv", "name": "info-tv.example.com"},
        ],
        "panel_domains": [{"reseller": "info-rs", "name": "info-panel.example.com"}],
        "mounts": [{"media_service": "info-fm", "name": "/info-low", "bitrate_kbps": 64}],
        "media_users": [
            {"customer": "info-a", "name": "studio"},
            {"customer": "info-a", "name": "desk"},
            {"customer": "info-b", "name": "studio"},
        ],
    }
    body = {"document": document, "label": "infos"}
    assert panel.request("POST", "/apply", body)[0] == 200
    assert panel.request("DELETE", "/media-services/info-tv")[0] == 200
    customer, plan, node, service, playlist, dj, schedule, relay, domain, panel_name, mount, login = (
        f"streamfleet_{kind}_info" for kind in KEYS
    )
    asked = {
        "all": (customer, {"label": "infos"}, ["info-a", "info-b", "info-rs"]),
        "one": (customer, {"username": "info-a"}, ["info-a"]),
        "none": (customer, {"username": "none-such"}, []),
        "disabled": (customer, {"label": "infos", "status": "disabled"}, ["info-b"]),
        "of reseller": (customer, {"reseller": "info-rs"}, ["info-a"]),
        "resellers": (customer, {"reseller_plan": "info-plan"}, ["info-rs"]),
        "search": (customer, {"search": "aNN inf"}, ["info-a"]),
        "plan": (plan, {"name": "info-plan"}, ["info-plan"]),
        "plans": (plan, {"label": "infos"}, ["info-plan"]),
        "node": (node, {"name": "base1"}, ["base1"]),
        "nodes": (node, {"search": "base", "status": "active"}, ["base1"]),
        "services": (service, {"customer": "info-a"}, ["info-fm"]),
        "by engine": (service, {"label": "infos", "engine": "nginx_rtmp"}, []),
        "by node": (service, {"label": "infos", "node": "base1", "state": "running"}, ["info-fm"]),
        "playlist": (playlist, {"media_service": "info-fm", "name": "info-all"}, ["info-all"]),
        "no playlist": (playlist, {"media_service": "info-am", "name": "info-all"}, []),
        "of a service": (playlist, {"media_service": "info-fm"}, ["info-all", "info-jingles"]),
        "of all services": (playlist, {"label": "infos"}, ["info-all", "info-am-all", "info-jingles"]),
        "jingles": (playlist, {"label": "infos", "type": "jingle"}, ["info-jingles"]),
        "dj": (dj, {"media_service": "info-am", "username": "info-anna"}, ["info-anna"]),
        "no dj": (dj, {"media_service": "info-fm", "username": "info-anna"}, []),
        "djs": (dj, {"label": "infos", "media_service": "info-am"}, ["info-anna", "info-ben"]),
        "dj by name": (dj, {"search": "anna inf"}, ["info-anna"]),
        "login": (login, {"customer": "info-a", "name": "studio"}, ["studio"]),
        "no login": (login, {"customer": "info-b", "name": "desk"}, []),
        "logins": (login, {"label": "infos", "customer": "info-a"}, ["desk", "studio"]),
        "words": (dj, {"media_service": "info-am", "username": "info-anna", "credentials": True}, None),
        "schedule": (schedule, {"media_service": "info-am", "name": "info-show"}, ["info-show"]),
        "no schedule": (schedule, {"media_service": "info-fm", "name": "info-show"}, []),
        "schedules": (schedule, {"label": "infos"}, ["info-other", "info-show"]),
        "of a DJ": (schedule, {"media_service": "info-am", "dj": "info-ben"}, ["info-other"]),
        "relay": (relay, {"media_service": "info-fm", "name": "info-in"}, ["info-in"]),
        "no relay": (relay, {"media_service": "info-am", "name": "info-in"}, []),
        "relays": (relay, {"label": "infos"}, ["info-in", "info-out"]),
        "relays out": (relay, {"label": "infos", "direction": "out"}, ["info-out"]),
        "domain": (domain, {"media_service": "info-fm", "name": "info.example.com"}, ["info.example.com"]),
        "domains": (domain, {"label": "infos", "status": "pending"}, ["info.example.com"]),
        "no domain": (domain, {"label": "infos", "status": "verified"}, []),
        "panel domain": (
            panel_name,
            {"reseller": "info-rs", "name": "info-panel.example.com"},
            ["info-panel.example.com"],
        ),
        "panel domains": (panel_name, {"label": "infos", "status": "pending"}, ["info-panel.example.com"]),
        "no panel domain": (panel_name, {"label": "infos", "reseller": "info-a"}, []),
        "mount": (mount, {"media_service": "info-fm", "name": "/info-low"}, ["/info-low"]),
        "no mount": (mount, {"media_service": "info-am", "name": "/info-low"}, []),
        "mounts": (mount, {"label": "infos"}, ["/info-low", "/stream", "/stream"]),
        "mounts of one": (mount, {"media_service": "info-fm", "search": "LOW"}, ["/info-low"]),
        "deleted": (service, {"label": "infos", "deleted": True}, ["info-tv"]),
        "secrets": (service, {"slug": "info-fm", "credentials": True}, None),
    }
    tasks = [
        {"name": name, module: args, "register": name if expected is None else "ignored"}
        for name, (module, args, expected) in asked.items()
    ]
    tasks.append(
        {
            "name": "the playbook has them",
            "ansible.builtin.assert": {
                "that": [
                    f"(secrets.media_services[0].credentials.source_password | hash('sha256')) == '{digest(password)}'",
                    "secrets.media_services[0].connection | selectattr('label', 'eq', 'Password') | length == 1",
                    f"(words.djs[0].credentials.password | hash('sha256')) == '{digest(word)}'",
                    f"(words.djs[0].connection[-1].value | hash('sha256')) == '{digest(word)}'",
                ]
            },
            "no_log": True,
        }
    )
    results = runner.tasks(tasks, check_mode=True)
    for name, (module, _, expected) in asked.items():
        assert not results[name].get("failed"), f"{name}: {results[name]}"
        assert not results[name]["changed"]
        if expected is not None:
            kind = module.removeprefix("streamfleet_").removesuffix("_info")
            assert sorted(item[KEYS[kind]] for item in results[name][f"{kind}s"]) == expected, name
    for name in ("secrets", "words"):
        assert "censored" in results[name], "stream credentials are for the playbook, not for its output"
    assert not results["the playbook has them"].get("failed")
    audit = panel.request("GET", "/audit-log?kind=media_service&key=info-fm")[1]["items"]
    assert [item["action"] for item in audit].count("read_credentials") == 1
    audit = panel.request("GET", "/audit-log?kind=dj&key=info-am/info-anna")[1]["items"]
    assert [item["action"] for item in audit].count("read_credentials") == 1


def test_wrong_options(runner: Runner) -> None:
    results = runner.tasks(
        [
            {"name": "two", "streamfleet_customer_info": {"username": "a", "status": "enabled"}, "ignore_errors": True},
            {"name": "state", "streamfleet_media_service_info": {"state": "asleep"}, "ignore_errors": True},
            {"name": "whose", "streamfleet_playlist_info": {"name": "all"}, "ignore_errors": True},
        ]
    )
    assert "parameters are mutually exclusive: username|status" in results["two"]["msg"]
    assert "value of state must be one of: running" in results["state"]["msg"]
    assert "missing parameter(s) required by 'name': media_service" in results["whose"]["msg"]


def digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()
