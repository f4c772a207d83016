"""What encoders say, and what whoever is not one says: parsed, or refused with a status, and never anything else."""

from __future__ import annotations

import base64
import random
import urllib.parse

import pytest
from streamfleet_autodj import wire
from streamfleet_autodj.wire import Login, Refused, Source, Update


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


ANNA = basic("anna:secret:with-colon")
WHO = Login("anna", "secret:with-colon")


@pytest.mark.parametrize(
    ("line", "headers", "wanted"),
    [
        (b"PUT /anna HTTP/1.1\r\n", {}, Source(WHO, "/anna", "audio/mpeg", "mp3")),
        (b"SOURCE /anna HTTP/1.0\r\n", {"content-type": "audio/aacp"}, Source(WHO, "/anna", "audio/aac", "aac")),
        (
            b"SOURCE /anna ICE/1.0\n",
            {"content-type": "audio/ogg; codecs=opus"},
            Source(WHO, "/anna", "application/ogg", "ogg"),
        ),
        (b"PUT /anna HTTP/1.1\r\n", {"expect": "100-Continue"}, Source(WHO, "/anna", "audio/mpeg", "mp3", True)),
        (b"PUT /../etc/passwd HTTP/1.1\r\n", {}, Source(WHO, "/../etc/passwd", "audio/mpeg", "mp3")),
        (b"GET /admin/metadata?mode=updinfo&mount=/anna&song=A+%26+B HTTP/1.1\r\n", {}, Update(WHO, "/anna", "A & B")),
        (b"GET /admin/metadata?mode=updinfo&mount=%2Fanna&song=%C3%A9 HTTP/1.0\r\n", {}, Update(WHO, "/anna", "é")),
        (b"GET /admin/metadata?mode=updinfo&mount=/anna&song=%E9 HTTP/1.0\r\n", {}, Update(WHO, "/anna", "é")),
        (
            b"GET /admin/metadata?mode=updinfo&mount=/anna&artist=A&title=B HTTP/1.0\r\n",
            {},
            Update(WHO, "/anna", "A - B"),
        ),
        (b"GET /admin/metadata?mode=updinfo&song=a%0d%0ab%00c%1b HTTP/1.0\r\n", {}, Update(WHO, "", "a b c")),
    ],
)
def test_requests(line: bytes, headers: dict[str, str], wanted: Source | Update) -> None:
    assert wire.is_request(line)
    assert wire.request(line, {**ANNA, **headers}) == wanted


def test_a_title_of_shoutcast_has_its_log_in_in_the_address() -> None:
    line = b"GET /admin.cgi?mode=updinfo&pass=anna%3Asecret&song=%C3%A9 HTTP/1.0\r\n"
    assert wire.request(line, {}) == Update(Login("anna", "secret"), None, "é")


def test_titles_are_cut() -> None:
    line = b"GET /admin/metadata?mode=updinfo&song=" + b"a" * 4000 + b" HTTP/1.0\r\n"
    asked = wire.request(line, ANNA)
    assert isinstance(asked, Update)
    assert asked.title == "a" * wire.LONGEST_TITLE


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        (b"PUT /anna HTTP/1.1\r\n", {"authorization": ""}, 401),
        (b"PUT /anna HTTP/1.1\r\n", {"authorization": "Bearer x"}, 401),
        (b"PUT /anna HTTP/1.1\r\n", {"authorization": "Basic !!!"}, 400),
        (b"PUT /anna HTTP/1.1\r\n", {"authorization": "Basic /w=="}, 400),
        (b"PUT /anna HTTP/1.1\r\n", {"content-type": "text/html"}, 415),
        (b"PUT /anna HTTP/1.1\r\n", {"content-type": "video/ogg"}, 415),
        (b"PUT /anna HTTP/1.1\r\n", {"transfer-encoding": "chunked"}, 501),
        (b"GET /anna HTTP/1.1\r\n", {}, 404),
        (b"GET /admin/stats HTTP/1.1\r\n", {}, 404),
        (b"GET /admin/metadata?mode=kill&mount=/anna HTTP/1.1\r\n", {}, 400),
        (b"GET /admin/metadata?" + b"a=b&" * 40 + b" HTTP/1.1\r\n", {}, 400),
        (b"DELETE /anna HTTP/1.1\r\n", {}, 405),
    ],
)
def test_refusals(line: bytes, headers: dict[str, str], status: int) -> None:
    with pytest.raises(Refused) as caught:
        wire.request(line, {**ANNA, **headers})
    assert caught.value.status == status
    assert "secret" not in caught.value.message
    assert wire.refusal(status, caught.value.message).startswith(f"HTTP/1.0 {status} ".encode())


@pytest.mark.parametrize(
    "line",
    [
        b"anna:secret\r\n",
        b"secret\n",
        b"\r\n",
        b"GET / HTTP/2.0\r\n",
        b"put /a HTTP/1.1\r\n",
        b"GET  / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\n",
    ],
)
def test_what_is_no_request_is_a_log_in_of_shoutcast(line: bytes) -> None:
    assert not wire.is_request(line)
    wire.shoutcast_login(line)


def test_shoutcast_log_ins_and_headers() -> None:
    login = wire.shoutcast_login(b"anna:se:cret\r\n")
    assert login == Login("anna", "se:cret")
    assert wire.shoutcast_login(b"only-a-password\n") == Login("only-a-password", "")
    headers = wire.headers_of([b"icy-name:My show\r\n", b"Content-Type: audio/aacp\r\n"])
    assert wire.shoutcast_source(login, headers) == Source(login, None, "audio/aac", "aac")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([b"no colon\r\n"], 400),
        ([b": x\r\n"], 400),
        ([b"Authorization: Basic a\r\n", b"authorization : Basic b\r\n"], 400),
        ([b"Transfer-Encoding: identity\r\n", b"transfer-encoding: chunked\r\n"], 400),
        ([b"a: b\r\n"] * 101, 431),
    ],
)
def test_headers_that_are_none_are_refused(lines: list[bytes], status: int) -> None:
    with pytest.raises(Refused) as caught:
        wire.headers_of(lines)
    assert caught.value.status == status


def test_noise_is_parsed_or_refused() -> None:
    chance = random.Random(7)
    alphabet = [
        b"PUT ",
        b"GET ",
        b"SOURCE ",
        b"/admin/metadata?",
        b"mode=updinfo",
        b"&",
        b"=",
        b"%",
        b"%ff",
        b"/anna",
        b" HTTP/1.1",
        b"\0",
        b":",
        b"\xff",
    ]
    for _ in range(3000):
        line = b"".join(chance.choices(alphabet, k=chance.randint(1, 10)))
        headers = {
            "authorization": "Basic " + urllib.parse.quote(chance.randbytes(6)),
            **(ANNA if chance.random() > 0.5 else {}),
        }
        if wire.is_request(line):
            asked: Source | Update | Refused
            try:
                asked = wire.request(line, headers)
            except Refused as refused:
                asked = refused
            assert isinstance(asked, Source | Update) or 400 <= asked.status < 600
        else:
            assert isinstance(wire.shoutcast_login(line), Login)
