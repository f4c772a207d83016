"""What the double takes for a configuration: flussonic.conf, and a stream as the API takes it; nothing else.

Both are as the vendor documents them, as far as Streamfleet and the double use them. What the vendor's program would
not take is refused here, too: a directive that it does not know, one in another place, a value of another kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


class Wrong(Exception):
    """Text or data that the program does not take; the message says where."""


# Data of the API. A checker takes the value and returns what is wrong with it, or nothing.

Checker = Callable[[Any], str]


def word(pattern: str) -> Checker:
    """A text of this form."""
    return lambda value: "" if isinstance(value, str) and re.fullmatch(pattern, value) else "bad value"


def whole(low: int, high: int = 2**63) -> Checker:
    """A whole number."""
    return lambda value: (
        "" if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high else "bad value"
    )


def flag(value: Any) -> str:
    """On or off."""
    return "" if isinstance(value, bool) else "bad value"


def either(*checkers: Checker) -> Checker:
    """What one of them takes."""
    return lambda value: "" if any(not check(value) for check in checkers) else "bad value"


def some(check: Checker) -> Checker:
    """A list."""

    def checked(value: Any) -> str:
        if not isinstance(value, list):
            return "not a list"
        return next((f"{place}: {said}" for place, item in enumerate(value) if (said := check(item))), "")

    return checked


def record(known: dict[str, Checker], required: tuple[str, ...] = ()) -> Checker:
    """A mapping with these keys and no others."""

    def checked(value: Any) -> str:
        if not isinstance(value, dict):
            return "not an object"
        for key, item in value.items():
            if key not in known:
                return f"{key}: unknown key"
            said = known[key](item)
            if said:
                return f"{key}: {said}"
        return next((f"{key}: missing" for key in required if key not in value), "")

    return checked


NAME = r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*"
PATH = r"/[A-Za-z0-9._/-]+"
URL = r"https?://[A-Za-z0-9.-]+(?::[0-9]+)?/[A-Za-z0-9._/-]*"
BITRATE = either(word("copy"), whole(1000))
PROTOCOLS = ("dash", "hls", "cmaf", "jpeg", "mp4", "mss", "player", "rtmp", "rtsp", "srt", "tshttp", "webrtc", "api")
VIDEO = {
    "track": whole(1),
    "codec": word("h264|hevc|av1|mp2v"),
    "bitrate": BITRATE,
    "size": record(
        {"width": whole(-1), "height": whole(-1), "strategy": word("crop|scale|fit"), "background": word(".+")}
    ),
}
AUDIO = {"codec": word("aac|mp3|mp2a|opus|ac3|eac3|pcma|pcmu|pcm"), "bitrate": BITRATE}
STREAM: dict[str, Checker] = {
    "name": word(NAME),
    "title": word("[^\x00-\x1f]*"),
    "disabled": flag,
    "static": flag,
    "inputs": some(record({"url": word(r"publish://|fake://fake")}, ("url",))),
    "password": word("[^\\s;{}\"']+"),
    "protocols": record(dict.fromkeys(("whitelist", *PROTOCOLS), flag)),
    "segment_duration": whole(500, 60_000),
    "segment_count": whole(1, 100),
    "on_play": record({"url": word(URL), "max_sessions": whole(1)}),
    "on_publish": record({"url": word(URL), "max_sessions": whole(1)}),
    "dvr": record(
        {"root": word(PATH), "expiration": whole(1), "storage_limit": whole(1), "disk_usage_limit": whole(0, 100)},
        ("root",),
    ),
    "transcoder": record(
        {
            "global": record({"hw": word("cpu|nvenc"), "fps": whole(1), "gop": whole(1)}),
            "audio": record(AUDIO),
            "video": some(record(VIDEO, ("track",))),
        }
    ),
}


def merged(old: dict[str, Any], given: Any, name: str) -> dict[str, Any]:
    """A stream after ``PUT``: what is named is changed, null takes it away. Raises Wrong."""
    if not isinstance(given, dict):
        raise Wrong("not an object")
    if given.get("name", name) != name:
        raise Wrong("name: is another than in the address")
    for key, value in given.items():
        said = "unknown key" if key not in STREAM else "" if value is None else STREAM[key](value)
        if said:
            raise Wrong(f"{key}: {said}")
    both = {**old, **given, "name": name}
    return {key: value for key, value in both.items() if value is not None}


# flussonic.conf


def tokens(text: str) -> Iterator[tuple[int, str]]:
    """Words, ``;``, ``{`` and ``}`` with their lines; comments are none. Raises Wrong."""
    for number, line in enumerate(text.split("\n"), 1):
        rest = line
        while rest := rest.lstrip():
            if rest[0] == "#":
                break
            found = re.match(r'[;{}]|"[^"]*"|[^\s;{}"#]+', rest)
            if not found:
                raise Wrong(f"line {number}: a text without an end")
            yield number, found[0].strip('"') if found[0][0] == '"' else found[0]
            rest = rest[found.end() :]


@dataclass
class Statement:
    """A directive, its arguments, and what is in its block."""

    line: int
    name: str
    arguments: list[str]
    block: list[Statement] | None = None


def statements(text: str) -> list[Statement]:
    """The whole file. Raises Wrong."""
    found = tokens(text)
    return _block(found, top=True)


def _block(found: Iterator[tuple[int, str]], top: bool) -> list[Statement]:
    made: list[Statement] = []
    words: list[tuple[int, str]] = []
    for line, text in found:
        if text == "}":
            if top or words:
                raise Wrong(f"line {line}: }} where none is expected")
            return made
        if text not in (";", "{"):
            words.append((line, text))
            continue
        if not words:
            raise Wrong(f"line {line}: {text} without a directive")
        made.append(Statement(words[0][0], words[0][1], [item for _line, item in words[1:]]))
        if text == "{":
            made[-1].block = _block(found, top=False)
        words = []
    if words or not top:
        raise Wrong("the file ends within a directive")
    return made


@dataclass
class Server:
    """What flussonic.conf says."""

    http: list[tuple[str, int]] = field(default_factory=list)
    rtmp: list[tuple[str, int]] = field(default_factory=list)
    edit_auth: tuple[str, str] | None = None
    own: list[str] = field(default_factory=list)
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)


#: Global directives without an effect here, and the form of their arguments.
PLAIN = {
    "pulsedb": PATH,
    "session_log": PATH,
    "loglevel": "debug|info|notice|warning|error|alert",
    "cluster_key": r"\S+",
    "rtsp": r"(?:[0-9.]+:)?[1-9][0-9]{0,4}",
}


def server(text: str, found: Server) -> None:
    """Fill in what the file says, as far as it is right. Raises Wrong for the first thing that is not."""
    for item in statements(text):
        _directive(item, found)
        if item.name != "stream":
            found.own.append(" ".join((item.name, *item.arguments)) + ";")


def _directive(item: Statement, found: Server) -> None:
    where = f"line {item.line}: {item.name}"
    if item.block is not None and item.name != "stream":
        raise Wrong(f"{where}: has no block")
    if item.name in ("http", "rtmp"):
        match = re.fullmatch(r"(?:([0-9]{1,3}(?:\.[0-9]{1,3}){3}):)?([1-9][0-9]{0,4})", " ".join(item.arguments))
        if not match or int(match[2]) > 65535:
            raise Wrong(f"{where}: bad value")
        getattr(found, item.name).append((match[1] or "", int(match[2])))
    elif item.name == "edit_auth":
        if len(item.arguments) != 2:
            raise Wrong(f"{where}: needs a user and a password")
        found.edit_auth = (item.arguments[0], item.arguments[1])
    elif item.name in PLAIN:
        if len(item.arguments) != 1 or not re.fullmatch(PLAIN[item.name], item.arguments[0]):
            raise Wrong(f"{where}: bad value")
    elif item.name == "stream":
        if len(item.arguments) != 1 or item.block is None or item.arguments[0] in found.streams:
            raise Wrong(f"{where}: needs a name that no other has, and a block")
        name = item.arguments[0]
        found.streams[name] = merged({}, _stream(item.block), name)
    else:
        raise Wrong(f"{where}: unknown directive")


SECONDS = {"s": 1, "h": 3600, "d": 86400}
BYTES = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _stream(block: list[Statement]) -> dict[str, Any]:
    """A stream's block as data of the API. Raises Wrong."""
    made: dict[str, Any] = {}
    for item in block:
        where = f"line {item.line}: {item.name}"
        if item.block is not None or (item.name in made and item.name != "input"):
            raise Wrong(f"{where}: has a block, or is there twice")
        if item.name == "input" and len(item.arguments) == 1:
            made.setdefault("inputs", []).append({"url": item.arguments[0]})
        elif item.name == "disabled" and not item.arguments:
            made["disabled"] = True
        elif item.name in ("segment_duration", "segment_count") and re.fullmatch(r"[0-9.]+", " ".join(item.arguments)):
            number = float(item.arguments[0])
            made[item.name] = int(number * (1000 if item.name == "segment_duration" else 1))
        elif item.name in ("password", "title") and len(item.arguments) == 1:
            made[item.name] = item.arguments[0]
        elif item.name in ("on_play", "on_publish") and len(item.arguments) == 1:
            made[item.name] = {"url": item.arguments[0]}
        elif item.name == "protocols" and item.arguments:
            made["protocols"] = {"whitelist": True, **dict.fromkeys(item.arguments, True)}
        elif item.name == "dvr" and item.arguments:
            made["dvr"] = _dvr(item, where)
        elif item.name == "transcoder" and item.arguments:
            made["transcoder"] = _transcoder(item, where)
        else:
            raise Wrong(f"{where}: unknown directive, or a bad value")
    return made


def _dvr(item: Statement, where: str) -> dict[str, Any]:
    made: dict[str, Any] = {"root": item.arguments[0]}
    for argument in item.arguments[1:]:
        if match := re.fullmatch(r"([1-9][0-9]*)([shd])", argument):
            made["expiration"] = int(match[1]) * SECONDS[match[2]]
        elif match := re.fullmatch(r"([1-9][0-9]*)([MGT])", argument):
            made["storage_limit"] = int(match[1]) * BYTES[match[2]]
        elif match := re.fullmatch(r"([0-9]{1,3})%", argument):
            made["disk_usage_limit"] = int(match[1])
        else:
            raise Wrong(f"{where}: bad value {argument}")
    return made


def _bitrate(value: str) -> str | int:
    return value if value == "copy" else int(value.removesuffix("k")) * 1000


def _transcoder(item: Statement, where: str) -> dict[str, Any]:
    """Every ``vb`` begins a picture. Raises Wrong."""
    made: dict[str, Any] = {"video": []}
    for argument in item.arguments:
        key, _, value = argument.partition("=")
        size = re.fullmatch(r"(-1|[0-9]+)x(-1|[0-9]+):(crop|scale|fit)", value)
        if key == "hw" and value in ("cpu", "nvenc"):
            made["global"] = {"hw": value}
        elif key in ("vb", "ab") and re.fullmatch(r"copy|[1-9][0-9]*k", value):
            if key == "vb":
                made["video"].append({"track": len(made["video"]) + 1, "bitrate": _bitrate(value)})
            else:
                made["audio"] = {"bitrate": _bitrate(value)}
        elif key == "size" and size and made["video"]:
            made["video"][-1]["size"] = {"width": int(size[1]), "height": int(size[2]), "strategy": size[3]}
        elif key == "vcodec" and made["video"]:
            made["video"][-1]["codec"] = value
        else:
            raise Wrong(f"{where}: bad value {argument}")
    return made


def written(found: Server) -> str:
    """flussonic.conf with the streams as they are now, as the vendor's program saves it."""
    lines = list(found.own)
    for name, stream in found.streams.items():
        lines += [f"stream {name} {{", *(f"  {line};" for line in _lines(stream)), "}"]
    return "\n".join(lines) + "\n"


def _lines(stream: dict[str, Any]) -> Iterator[str]:
    for item in stream.get("inputs", []):
        yield f"input {item['url']}"
    for key in ("password", "segment_count"):
        if key in stream:
            yield f"{key} {stream[key]}"
    if "title" in stream:
        yield f'title "{stream["title"]}"'
    if "segment_duration" in stream:
        yield f"segment_duration {stream['segment_duration'] / 1000:g}"
    if names := [name for name in PROTOCOLS if stream.get("protocols", {}).get(name)]:
        yield f"protocols {' '.join(names)}"
    for key in ("on_play", "on_publish"):
        if key in stream:
            yield f"{key} {stream[key]['url']}"
    if dvr := stream.get("dvr"):
        age = f" {dvr['expiration']}s" if "expiration" in dvr else ""
        yield f"dvr {dvr['root']}{age}" + (f" {dvr['storage_limit'] >> 20}M" if "storage_limit" in dvr else "")
    if transcoder := stream.get("transcoder"):
        yield " ".join(("transcoder", *_encoded(transcoder)))
    if stream.get("disabled"):
        yield "disabled"


def _encoded(transcoder: dict[str, Any]) -> Iterator[str]:
    if "global" in transcoder:
        yield f"hw={transcoder['global']['hw']}"
    for video in transcoder.get("video", []):
        yield f"vb={_shown(video['bitrate'])}"
        if "codec" in video:
            yield f"vcodec={video['codec']}"
        if size := video.get("size"):
            yield f"size={size['width']}x{size['height']}:{size['strategy']}"
    if "audio" in transcoder:
        yield f"ab={_shown(transcoder['audio']['bitrate'])}"


def _shown(bitrate: str | int) -> str:
    return bitrate if isinstance(bitrate, str) else f"{bitrate // 1000}k"
