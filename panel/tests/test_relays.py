"""Relays: what is stored, refused, shown and deleted, and what of it services and nodes notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamfleet_panel.apply import ApiError, relays
from streamfleet_panel.models import AuditLog, MediaService, Node, Relay
from tests_support import Api

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]
L = "relays[0]"
IN: dict[str, Any] = {"direction": "in", "address": "https://network.example/live.mp3"}
OUT: dict[str, Any] = {"direction": "out", "address": "icecast://other.example:8000/live", "password": "correct-horse"}
TWO_MOUNTS = {"media_services": [{"slug": "rock", "mounts": [{"name": "/stream"}, {"name": "/low", "default": True}]}]}


def relay(name: str = "network", **fields: Any) -> dict[str, Any]:
    """A document of one relay of rock."""
    return {"relays": [{"media_service": "rock", "name": name, **fields}]}


def both(*items: dict[str, Any]) -> dict[str, Any]:
    """A document of several relays of rock, each with a name of its own."""
    return {"relays": [{"media_service": "rock", "name": f"r{number}", **item} for number, item in enumerate(items)]}


def refused(run: Run, document: dict[str, Any], who: str | None = None) -> ApiError:
    def snapshot() -> list[Any]:
        return [list(model.objects.order_by("pk").values_list()) for model in (Relay, MediaService, Node, AuditLog)]

    before = snapshot()
    with pytest.raises(ApiError) as caught:
        run(document, who)
    assert snapshot() == before
    return caught.value


def test_a_new_relay_has_the_defaults(world: None, run: Run) -> None:
    answer = run(relay(**IN), return_objects=True)
    result = answer["results"][0]
    assert (result["kind"], result["key"], result["path"], result["action"]) == ("relay", "rock/network", L, "created")
    assert result["changes"]["mount"] == {"before": None, "after": "/stream"}
    created = dict(result["object"])
    assert created.pop("created_at")
    assert created == {
        "media_service": "rock",
        "name": "network",
        **IN,
        "mount": "/stream",
        "username": None,
        "enabled": True,
        "djs_first": True,
        "silence_seconds": 15,
        "reconnect_seconds": 30,
        "label": None,
    }
    assert not run(relay(**IN))["changed"]
    # What was read can be sent back.
    assert not run({"relays": [{k: v for k, v in created.items() if k != "label"}]})["changed"]
    run(TWO_MOUNTS)
    run(relay("other", **OUT))
    assert Relay.objects.get(name="other").mount == "/low"


def test_a_password_is_stored_encrypted_and_never_shown(world: None, run: Run, api: Callable[..., Api]) -> None:
    answers = [run(relay(**OUT), return_objects=True)]
    stored = Relay.objects.get()
    assert stored.password == "correct-horse"
    assert "correct-horse" not in stored.credentials_encrypted
    answers.append(run(relay(password="battery-staple"), return_objects=True))
    assert answers[1]["results"][0]["changes"] == {"password": {"before": "********", "after": "********"}}
    assert not run(relay(password="battery-staple"))["changed"]
    answers.append(refused(run, relay(password="battery staple")).as_dict())
    answers += [api("alice")("GET", path)[1] for path in ("/relays", "/media-services/rock/relays/network")]
    for secret in ("correct-horse", "battery"):
        assert secret not in str([*answers, [entry.changes for entry in AuditLog.objects.all()]])


def test_a_password_goes_to_no_other_server_than_it_was_given_for(world: None, run: Run) -> None:
    run(relay(**OUT))
    error = refused(run, relay(address="icecast://thief.example:8000/live"), "alice").errors[0]
    assert (error.path, error.message) == (f"{L}.address", "is another server, which must not get the old password")
    run(relay(address="icecast://other.example:8000/another"), "alice")
    run(relay(address="icecast://third.example:8000/live", password="of-the-third"), "alice")
    assert Relay.objects.get().password == "of-the-third"


def test_every_change_reaches_the_service_and_its_node_and_nobody_else(world: None, run: Run) -> None:
    def generations() -> tuple[int, int, int]:
        services = dict(MediaService.objects.values_list("slug", "generation"))
        return Node.objects.get(name="node1").generation, services["rock"], services["eve-fm"]

    node, _, other = generations()
    for number, fields in enumerate([IN, {"silence_seconds": 30}, {"enabled": False}, {"state": "absent"}], 1):
        assert run(relay(**fields))["nodes"] == {"node1": node + number}, fields
        assert generations() == (node + number, node + number, other), fields
    assert not Relay.objects.exists()
    run(relay(**IN))
    assert run(relay(), label="x")["nodes"] == {}
    pruned = run({}, label="x", prune=True)
    assert [(item["kind"], item["key"], item["action"]) for item in pruned["results"]] == [
        ("relay", "rock/network", "deleted")
    ]


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"address": IN["address"]}, "direction", "is missing"),
        ({"direction": "in"}, "address", "is missing"),
        ({**IN, "direction": "sideways"}, "direction", "must be one of in, out"),
        (
            {**IN, "address": "http://127.0.0.1:8100/stream"},
            "address",
            "names 127.0.0.1, which is not on the public Internet",
        ),
        ({**IN, "address": "http://10.0.0.5/stream"}, "address", "names 10.0.0.5, which is not on the public Internet"),
        ({**IN, "address": "http://169.254.169.254/latest"}, "address", "is not on the public Internet"),
        ({**IN, "address": "http://[::ffff:10.0.0.5]/"}, "address", "is not on the public Internet"),
        (
            {**IN, "address": "http://localhost:8100/stream"},
            "address",
            "names localhost, which is not on the public Internet",
        ),
        ({**IN, "address": "http://2130706433/"}, "address", "has a host that is no IPv4 address"),
        ({**IN, "address": "file:///etc/passwd"}, "address", "has the scheme file, which is not accepted here"),
        ({**IN, "address": "ftp://network.example/a"}, "address", "has the scheme ftp, which is not accepted here"),
        (
            {**IN, "address": "icecast://network.example/a"},
            "address",
            "has the scheme icecast, which is not accepted here",
        ),
        ({**OUT, "address": "http://other.example/live"}, "address", "has the scheme http, which is not accepted here"),
        ({**OUT, "address": "icecast://other.example"}, "address", "does not end in a mount of the other server"),
        ({**IN, "address": "http://a:b@network.example/"}, "address", "holds a user name or password"),
        ({**IN, "address": f"http://network.example/{'a' * 277}"}, "address", "has 300 characters, at most 255 fit"),
        ({**IN, "address": "http://network.example/a\nIcy: b"}, "address", "holds a character that no address has"),
        ({**IN, "address": 7}, "address", "must be a text, is a number"),
        ({**IN, "address": None}, "address", "may not be null"),
        ({**IN, "address": "http://network.example:25/"}, "address", "names port 25, which relays do not use"),
        # The service itself, by its own port and through the web server.
        ({**IN, "address": "http://stream.example.net:8100/stream"}, "address", "is this media service itself"),
        (
            {**IN, "address": "https://STREAM.example.net./listen/rock/stream"},
            "address",
            "is this media service itself",
        ),
        ({**IN, "address": "https://stream.example.net/listen/rock"}, "address", "is this media service itself"),
        ({**OUT, "address": "icecast://stream.example.net:8100/stream"}, "address", "is this media service itself"),
        ({**IN, "mount": "/nowhere"}, "mount", "is not a mount of this service"),
        ({**IN, "mount": "stream"}, "mount", "has a form that is not accepted"),
        ({**IN, "username": "a"}, "password", "is missing: a log-in has both"),
        ({**IN, "password": "a"}, "username", "is missing: a log-in has both"),
        ({**IN, "username": "a:b", "password": "c"}, "username", "has a form that is not accepted"),
        ({**OUT, "password": None}, "password", "is missing: relays out log in"),
        ({**OUT, "password": "a\nb"}, "password", "has a form that is not accepted"),
        ({**IN, "silence_seconds": 4}, "silence_seconds", "must be between 5 and 300"),
        ({**IN, "reconnect_seconds": 0}, "reconnect_seconds", "must be between 1 and 3600"),
        ({**IN, "priority": 1}, "priority", "is not a field of this kind of object"),
        ({**IN, "name": "a b"}, "name", "has a form that is not accepted"),
        ({**IN, "name": "n" * 64}, "name", "has 64 characters, at most 63 fit"),
    ],
)
def test_bad_input_is_refused_and_nothing_else_touched(
    world: None, run: Run, fields: dict[str, Any], field: str, message: str
) -> None:
    assert MediaService.objects.get(slug="rock").port == 8100
    error = refused(run, relay(**fields))
    assert error.code == "invalid_document"
    assert [(problem.path, message in problem.message) for problem in error.errors] == [(f"{L}.{field}", True)]
    assert error.errors[0].fix


def test_what_another_service_relays_is_no_relay_to_itself(world: None, run: Run) -> None:
    run(relay(direction="in", address="https://stream.example.net/listen/rock-two/stream"))
    run(relay("b", direction="in", address="http://stream.example.net:8999/stream", enabled=False))


def test_two_of_one_name_or_one_end_are_refused(world: None, run: Run) -> None:
    twice = {"relays": [*relay(**IN)["relays"], *relay(**IN)["relays"]]}
    assert [error.path for error in refused(run, twice).errors] == ["relays[1].name"]
    error = refused(run, both(IN, {**IN, "address": "http://second.example/"})).errors[0]
    assert (error.path, error.message) == ("relays[1].mount", "is relayed into by r0 already")
    error = refused(run, both(OUT, OUT)).errors[0]
    assert (error.path, error.message) == ("relays[1].address", "is relayed to by r0 already")
    run(both(IN, {**IN, "enabled": False}, OUT, {**OUT, "address": "icecast://other.example:8000/low"}))
    # One that is stored and not named counts, too; the one that is named is complained of.
    error = refused(run, relay("r1", enabled=True)).errors[0]
    assert (error.path, error.message) == (f"{L}.mount", "is relayed into by r0 already")
    run(
        {
            "relays": [
                {"media_service": "rock", "name": "r0", "state": "absent"},
                {**relay("r1")["relays"][0], "enabled": True},
            ]
        }
    )


def test_a_mount_stays_while_a_relay_needs_it(world: None, run: Run) -> None:
    run(TWO_MOUNTS)
    run(relay(**IN, mount="/low"))
    fewer = {"media_services": [{"slug": "rock", "mounts": [{"name": "/stream"}]}]}
    error = refused(run, fewer).errors[0]
    assert error.path == "media_services[0].mounts"
    assert error.message == "lacks /low, which the relay network needs"
    run({**fewer, **relay(mount="/stream")})
    # A mount that comes in the same document is there.
    run({**TWO_MOUNTS, **relay(mount="/low")})


def test_only_engines_that_relay_have_some(world: None, run: Run) -> None:
    error = refused(run, {"relays": [{"media_service": "tv", "name": "a", **IN}]}).errors[0]
    assert error.path == f"{L}.media_service"
    assert "which has no relays" in error.message
    assert error.fix == "Name a service of Icecast 2 or Icecast-KH."
    error = refused(run, {"relays": [{"media_service": "nobody", "name": "a", **IN}]}).errors[0]
    assert error.message == "there is no such media service"


def test_a_direction_is_fixed(world: None, run: Run) -> None:
    run(relay(**IN))
    error = refused(run, relay(direction="out")).errors[0]
    assert (error.path, "is fixed after creation" in error.message) == (f"{L}.direction", True)


def test_there_is_an_end_to_their_number(world: None, run: Run) -> None:
    def items(count: int) -> dict[str, Any]:
        return both(*({**OUT, "address": f"icecast://other.example/live{number}"} for number in range(count)))

    run(items(relays.MOST_RELAYS))
    error = refused(run, items(relays.MOST_RELAYS + 1)).errors[0]
    assert error.message == "rock would have 17 relays, at most 16 fit"


def test_they_go_and_come_back_with_their_service(world: None, run: Run, api: Callable[..., Api]) -> None:
    run(relay(**IN))
    run({"media_services": [{"slug": "rock", "state": "absent"}]})
    assert api("root")("GET", "/relays")[1]["count"] == 0
    run({"media_services": [{"slug": "rock"}]})
    assert [item["name"] for item in api("alice")("GET", "/relays?direction=in")[1]["items"]] == ["network"]
    assert api("alice")("GET", "/relays?direction=out")[1]["count"] == 0


def test_routes(world: None, api: Callable[..., Api]) -> None:
    alice, path = api("alice"), "/media-services/rock/relays/network"
    assert alice("PUT", f"{path}?dry_run=true", IN)[1]["action"] == "created"
    assert alice("GET", path)[0] == 404
    status, answer = alice("PUT", path, IN)
    assert (status, answer["action"], answer["object"]["mount"]) == (200, "created", "/stream")
    assert alice("GET", "/media-services/rock/relays")[1]["items"] == [alice("GET", path)[1]]
    assert alice("DELETE", path)[1]["action"] == "deleted"
    assert alice("GET", path)[0] == 404
