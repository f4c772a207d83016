"""The transcoder: a template, read strictly, and pictures that ffmpeg makes smaller, a segment at a time."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from .configuration import ANY, FLAG, NUMBER, PROPERTIES, Wrong, read, words

NAME = re.compile(r"[A-Za-z0-9]{1,32}")
STREAM = re.compile(r"mp4:\$\{SourceStreamName\}_[a-z0-9]{1,32}")
BITRATE = re.compile(r"[1-9][0-9]{0,8}|\$\{Source(?:Video|Audio)Bitrate\}")
VIDEO: dict[str, Any] = {
    "Codec": words("H.264", "PassThru", "Disable"),
    "Implementation?": words("default", "QuickSync", "NVENC", "x264"),
    "GPUID?": NUMBER,
    "FrameSize?": {
        "FitMode": words("fit-width", "fit-height", "match-source", "letterbox", "crop", "stretch"),
        "Width": re.compile(r"[0-9]{1,4}"),
        "Height": re.compile(r"[0-9]{1,4}"),
    },
    "Profile?": words("baseline", "main", "high"),
    "Bitrate": BITRATE,
    "KeyFrameInterval?": {"FollowSource": FLAG, "Interval": NUMBER},
}
ENCODE: dict[str, Any] = {
    "Enable": FLAG,
    "Name": NAME,
    "StreamName": STREAM,
    "Video": VIDEO,
    "Audio": {"Codec": words("AAC", "PassThru", "Disable"), "Bitrate": BITRATE},
    "Properties": PROPERTIES,
}
GROUP: dict[str, Any] = {
    "Name": NAME,
    "StreamName": re.compile(r"\$\{SourceStreamName\}_[a-z0-9]{1,32}"),
    "Members": {"MemberName*": NAME},
}
TEMPLATE: dict[str, Any] = {
    "Transcode": {
        "Description?": ANY,
        "Encodes": {"Encode*": ENCODE},
        "Decode": {"Video": {"Deinterlace": FLAG}, "Properties": PROPERTIES},
        "StreamNameGroups": {"StreamNameGroup*": GROUP},
        "Properties": PROPERTIES,
    }
}


class Template:
    """What a template makes of a stream, and in which groups it is played. Raises Wrong."""

    def __init__(self, path: Path) -> None:
        root = read(path, TEMPLATE)
        #: Name → lines of the picture and bits a second; nothing for the stream as it is sent.
        self.encodes: dict[str, tuple[int, int] | None] = {}
        for item in root.findall("Transcode/Encodes/Encode"):
            name = item.findtext("Name") or ""
            if name in self.encodes:
                raise Wrong(f"{path}: Encode {name} is there twice")
            if item.findtext("Video/Codec") == "PassThru":
                self.encodes[name] = None
                continue
            if item.findtext("Video/FrameSize/FitMode") != "fit-height" or "$" in (
                item.findtext("Video/Bitrate") or "$"
            ):
                raise Wrong(f"{path}: Encode {name}: the double makes pictures of a height and a bitrate only")
            self.encodes[name] = (
                int(item.findtext("Video/FrameSize/Height") or 0),
                int(item.findtext("Video/Bitrate") or 0),
            )
        self.groups: dict[str, list[str]] = {}
        for item in root.findall("Transcode/StreamNameGroups/StreamNameGroup"):
            members = [member.text or "" for member in item.findall("Members/MemberName")]
            unknown = [member for member in members if member not in self.encodes]
            if unknown or not members:
                raise Wrong(f"{path}: a group has no Encode {unknown}")
            self.groups[(item.findtext("StreamName") or "").partition("_")[2]] = members


def smaller(data: bytes, height: int, bitrate: int) -> bytes:
    """A segment with a picture of so many lines, at its own times."""
    coded = [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-b:v",
        f"{bitrate}",
        "-vf",
        f"scale=-2:{height}",
        "-c:a",
        "copy",
    ]
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "mpegts",
        "-i",
        "-",
        *coded,
        "-copyts",
        "-muxdelay",
        "0",
        "-f",
        "mpegts",
        "-",
    ]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout
