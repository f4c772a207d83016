"""module_utils/streamfleet/http.py on the wire."""

from __future__ import annotations

import gzip
import ipaddress
import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from streamfleet import errors
from streamfleet.http import MAX_RETRY_AFTER, Client, Response, segment

from tests.ports import free_port
from tests.unit.fake_server import Reply, Seen, serving

TOKEN = "sft_abcdefgh_canarycanarycanary"


def make_client(url: str, **options: object) -> tuple[Client, list[float]]:
    slept: list[float] = []
    return Client(url, TOKEN, sleep=slept.append, **options), slept  # type: ignore[arg-type]


def test_sends_token_and_json_and_reads_the_answer() -> None:
    with serving(Reply(200, {"ok": True}, {"X-Request-Id": "r1"})) as server:
        client, _ = make_client(server.url)
        response = client.request("post", "/apply", {"näme": "ß"}, query={"a": True, "b": None, "c": "x y"})
    assert isinstance(response, Response)
    assert (response.status, response.data, response.headers["x-request-id"]) == (200, {"ok": True}, "r1")
    (seen,) = server.requests
    assert (seen.method, seen.path) == ("POST", "/api/v1/apply?a=true&c=x+y")
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert json.loads(seen.body) == {"näme": "ß"}


def test_one_connection_serves_many_requests() -> None:
    with serving(Reply(200, {})) as server:
        client, _ = make_client(server.url)
        for _ in range(5):
            client.request("GET", "/health")
    assert len({seen.peer for seen in server.requests}) == 1


def test_the_connection_has_no_nagle_delay() -> None:
    with serving(Reply(200, {})) as server:
        client, _ = make_client(server.url)
        client.request("GET", "/health")
        assert client._connection is not None
        assert client._connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_understands_gzip_and_empty_bodies() -> None:
    packed = gzip.compress(b'{"n": 1}')
    with serving(Reply(200, raw=packed, headers={"Content-Encoding": "gzip"}), Reply(204)) as server:
        client, _ = make_client(server.url)
        assert client.request("GET", "/a").data == {"n": 1}
        assert client.request("DELETE", "/a").data is None


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("", "/customers/a", "/api/v1/customers/a"),
        ("/", "/customers/a", "/api/v1/customers/a"),
        ("/api/v1", "/customers/a", "/api/v1/customers/a"),
        ("/panel", "/customers/a", "/panel/api/v1/customers/a"),
        ("", "/api/v1/jobs/7", "/api/v1/jobs/7"),
    ],
)
def test_paths(base: str, path: str, expected: str) -> None:
    with serving(Reply(200, {})) as server:
        make_client(server.url + base)[0].request("GET", path)
    assert server.requests[0].path == expected


def test_segment_escapes_everything() -> None:
    assert segment("../a b?#ü") == "..%2Fa%20b%3F%23%C3%BC"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.Unauthenticated),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (413, errors.TooLarge),
        (422, errors.Invalid),
        (500, errors.ServerError),
        (418, errors.ServerError),
    ],
)
def test_statuses_become_types(status: int, kind: type[errors.Error]) -> None:
    body = {
        "error": {"code": "c", "message": "Said so.", "errors": [{"path": "p", "value": 1, "message": "m", "fix": "f"}]}
    }
    with serving(Reply(status, body)) as server, pytest.raises(kind) as caught:
        make_client(server.url)[0].request("GET", "/x")
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.status) == ("c", status)
    assert str(error).startswith("Said so.")
    assert "p: m (given: 1) Fix: f" in str(error)
    assert TOKEN not in str(error)


def test_html_errors_of_a_web_server_are_explained() -> None:
    page = Reply(502, raw=b"<html>Bad Gateway</html>", headers={"Content-Type": "text/html"})
    with serving(page) as server, pytest.raises(errors.ServerError, match="the panel behind it does not answer"):
        make_client(server.url)[0].request("POST", "/x", {})
    page = Reply(413, raw=b"<html>", headers={"Content-Type": "text/html"})
    with serving(page) as server, pytest.raises(errors.TooLarge, match="split it into several of at most 32 MiB"):
        make_client(server.url)[0].request("POST", "/x", {})


def test_something_that_is_no_panel_is_named() -> None:
    page = Reply(200, raw=b"<html>", headers={"Content-Type": "text/html"})
    with serving(page) as server, pytest.raises(errors.ServerError, match="is this the address of a Streamfleet panel"):
        make_client(server.url)[0].request("GET", "/x")


def test_a_redirect_is_not_followed() -> None:
    with (
        serving(Reply(200, {"got": "token"})) as other,
        serving(Reply(302, headers={"Location": f"{other.url}/x"})) as server,
    ):
        with pytest.raises(errors.ServerError, match=r"redirects to .*not followed.*Set url"):
            make_client(server.url)[0].request("GET", "/x")
        assert other.requests == []


@pytest.mark.parametrize("status", [429, 502, 503])
def test_idempotent_requests_are_tried_again(status: int) -> None:
    with serving(Reply(status), Reply(status), Reply(200, {"n": 3})) as server:
        client, slept = make_client(server.url)
        assert client.request("GET", "/x").data == {"n": 3}
    assert slept == [0.25, 0.5]


def test_other_requests_are_not() -> None:
    with serving(Reply(503), Reply(200, {})) as server:
        client, slept = make_client(server.url)
        with pytest.raises(errors.Busy):
            client.request("POST", "/x", {})
        assert len(server.requests) == 1
    assert slept == []


def test_retry_after_is_honoured_up_to_a_limit() -> None:
    replies = [Reply(429, headers={"Retry-After": value}) for value in ("3", "9999", "Wed, 21 Oct 2026 07:28:00 GMT")]
    with serving(*replies, Reply(200, {})) as server:
        client, slept = make_client(server.url)
        client.request("GET", "/x")
    assert slept == [3.0, MAX_RETRY_AFTER, 1.0]


def test_gives_up_in_the_end() -> None:
    with serving(Reply(503)) as server:
        client, slept = make_client(server.url)
        with pytest.raises(errors.Busy):
            client.request("PUT", "/x", {})
        assert len(server.requests) == len(slept) + 1 == 5


def test_a_kept_alive_connection_that_the_server_has_closed_is_opened_again() -> None:
    with serving(Reply(200, {}), Reply(drop=True), Reply(200, {"n": 2})) as server:
        client, _ = make_client(server.url)
        client.request("GET", "/x")
        assert client.request("GET", "/x").data == {"n": 2}
        with pytest.raises(errors.Unreachable), serving(Reply(drop=True)) as dropping:
            make_client(dropping.url)[0].request("POST", "/x", {})
        assert len(dropping.requests) == 1


def test_an_answer_that_comes_before_a_large_body_is_read_is_heard() -> None:
    with serving(Reply(200, {})) as server:
        server.early = Reply(413, {"error": {"code": "too_large", "message": "33 MiB is more than 32 MiB."}})
        with pytest.raises(errors.TooLarge, match="33 MiB is more"):
            make_client(server.url)[0].request("POST", "/apply", b"x" * (33 << 20))


def test_nobody_at_home() -> None:
    port = free_port()
    client, slept = make_client(f"http://127.0.0.1:{port}")
    with pytest.raises(errors.Unreachable, match=rf"127\.0\.0\.1, port {port}\) refused the connection\. Check url"):
        client.request("GET", "/x")
    assert len(slept) == 2
    with pytest.raises(errors.Unreachable, match=r"host name nowhere\.invalid of url .* cannot be resolved"):
        Client("https://nowhere.invalid", TOKEN).request("GET", "/x")


def test_silence_ends_with_the_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client, _ = make_client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)
        with pytest.raises(errors.Unreachable, match=r"did not answer within 0\.2 seconds"):
            client.request("GET", "/x")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("panel.example.net", "must be an https:// address"),
        ("ftp://panel.example.net", "must be an https:// address"),
        ("https://", "must be an https:// address"),
        ("https://panel.example.net:port", "is not a URL"),
        ("https://user:pw@panel.example.net", "must not hold a user name or a password"),
        ("https://panel.example.net/?x=1", "must end with the host name or a path"),
        ("http://panel.example.net", "would send the token in the clear"),
    ],
)
def test_bad_urls(url: str, message: str) -> None:
    with pytest.raises(errors.BadOption, match=message) as caught:
        Client(url, TOKEN)
    assert "pw" not in str(caught.value).replace("password", "")


def test_plain_http_is_for_loopback_or_who_asks_for_it() -> None:
    Client("http://localhost:8000", TOKEN)
    Client("http://[::1]:8000", TOKEN)
    Client("http://panel.example.net", None)
    Client("http://panel.example.net", TOKEN, validate_certs=False)


@pytest.mark.parametrize("token", ["two words", "new\nline: x", "ünicode"])
def test_bad_tokens(token: str) -> None:
    with pytest.raises(errors.BadOption, match="token holds characters that no token has") as caught:
        Client("https://panel.example.net", token)
    assert token not in str(caught.value)


def test_white_space_around_a_token_is_forgiven() -> None:
    with serving(Reply(200, {})) as server:
        Client(server.url, f" {TOKEN}\n").request("GET", "/x")
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


# TLS ------------------------------------------------------------------------------------------------------------------


def write_authority(directory: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A CA and a server certificate for 127.0.0.1 that it signed: (the CA's file, the server's context)."""
    now = datetime.now(UTC)

    def certificate(
        subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey, ca: bool
    ) -> x509.Certificate:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(by, hashes.SHA256())

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = certificate(name, authority_key, name, authority_key, ca=True)
    server = certificate("server", key, name, authority_key, ca=False)
    pem = serialization.Encoding.PEM
    ca_file, chain = directory / f"{name}.pem", directory / f"{name}-server.pem"
    ca_file.write_bytes(authority.public_bytes(pem))
    chain.write_bytes(
        server.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return ca_file, context


def test_tls(tmp_path: Path) -> None:
    right, context = write_authority(tmp_path, "right")
    wrong, _ = write_authority(tmp_path, "wrong")
    with serving(Reply(200, {"ok": True}), context=context) as server:
        assert make_client(server.url, ca_path=str(right))[0].request("GET", "/x").data == {"ok": True}
        with pytest.raises(
            errors.CertificateError, match=r"not trusted.*ca_path is .*wrong\.pem.*Set ca_path \(STREAMFLEET_CA\)"
        ):
            make_client(server.url, ca_path=str(wrong))[0].request("GET", "/x")
        with pytest.raises(errors.CertificateError, match="the system's certificate store is used"):
            make_client(server.url)[0].request("GET", "/x")
        assert make_client(server.url, validate_certs=False)[0].request("GET", "/x").data == {"ok": True}
        other_name = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(errors.CertificateError, match="not valid for 'localhost'"):
            make_client(other_name, ca_path=str(right))[0].request("GET", "/x")
    with serving(Reply(200, {})) as plain, pytest.raises(errors.CertificateError, match=r"TLS with .* failed"):
        make_client(plain.url.replace("http:", "https:"), ca_path=str(right))[0].request("GET", "/x")


def test_ca_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(errors.BadOption, match=r"ca_path '.*none\.pem' does not exist where this runs"):
        Client("https://panel.example.net", TOKEN, ca_path=str(tmp_path / "none.pem"))
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    with pytest.raises(errors.BadOption, match="cannot be read as PEM"):
        Client("https://panel.example.net", TOKEN, ca_path=str(junk))


def test_the_request_is_seen_whole() -> None:
    """The helper's own honesty: what the server saw is what was sent."""

    def echo(seen: Seen) -> Reply:
        return Reply(200, {"length": len(seen.body)})

    with serving(echo) as server:
        assert make_client(server.url)[0].request("POST", "/x", b"y" * 100_000).data == {"length": 100_000}


def test_what_an_upgrade_refuses_is_tried_again_whatever_it_was() -> None:
    refusal = {"error": {"code": "maintenance", "message": "An upgrade is under way", "errors": []}}
    away = Reply(503, refusal, {"Retry-After": "20"})
    with serving(away, away, Reply(200, {"changed": True})) as server:
        client, slept = make_client(server.url)
        assert client.request("POST", "/apply", {}).data == {"changed": True}
    assert slept == [20.0, 20.0]
    with serving(away) as server:
        client, slept = make_client(server.url)
        with pytest.raises(errors.Busy, match="An upgrade is under way") as caught:
            client.request("POST", "/apply", {})
    assert (caught.value.code, len(slept)) == ("maintenance", 4)
    # Any other 503 may have come after the work was done.
    with serving(Reply(503, {"error": {"code": "unavailable"}})) as server:
        client, slept = make_client(server.url)
        with pytest.raises(errors.Busy):
            client.request("POST", "/apply", {})
    assert slept == []
