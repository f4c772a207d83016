"""A double of a node's programs over a directory tree: systemctl, systemd-sysusers, userdel, nft, journalctl.

It refuses what the real ones refuse: an unknown user, a unit without a file, a port that is taken, a configuration that
is not there or not XML, an nft set that does not exist. What it knows lies in the tree, so a killed test process loses
nothing.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from streamfleet.node_apply.host import Finished, Host

GROUPS = "root:x:0:\nwww-data:x:33:\nstreamfleet-rtmp:x:990:\nstreamfleet-relay:x:991:\nstreamfleet-forward:x:992:\n"
WWW_DATA = "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"


class NodeDouble:
    """The programs, and the tree ``root`` that they work on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[list[str]] = []
        if not (root / "double.json").exists():
            for folder in (
                "etc/streamfleet/instances",
                "etc/streamfleet/routes",
                "etc/streamfleet/domains",
                "etc/streamfleet/publish-keys",
                "etc/systemd/system/streamfleet-instances.target.wants",
                "var/lib/streamfleet/node",
                "var/lib/streamfleet/services",
                "var/lib/streamfleet/media",
                "var/lib/streamfleet/media-index",
                "proc/net",
                "run",
            ):
                (root / folder).mkdir(parents=True)
            (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n" + WWW_DATA)
            (root / "etc/group").write_text(GROUPS)
            for template in ("icecast", "autodj", "live", "relay", "forward"):
                (root / f"etc/systemd/system/streamfleet-{template}@.service").write_text("[Service]\n")
            self._save({"units": {}, "table": True, "pairs": [], "taken": [], "words": {}})

    def host(self, checkpoint: Callable[[str], None] = lambda _name: None, **changes: Any) -> Host:
        """A host over the tree. Time stands still but for sleeping, so that waiting costs nothing."""
        time = [0.0]

        def sleep(seconds: float) -> None:
            time[0] += seconds

        options: dict[str, Any] = {
            "root": self.root,
            "run": self.run,
            "own": False,
            "sleep": sleep,
            "clock": lambda: time[0],
            "checkpoint": checkpoint,
            **changes,
        }
        return Host(**options)

    # What tests look at and turn ------------------------------------------------------------------------------------

    @property
    def units(self) -> dict[str, dict[str, Any]]:
        """Loaded units: active, sub, user, port, starts, reloads, config (as it was last read)."""
        units: dict[str, dict[str, Any]] = self._load()["units"]
        return units

    def unit(self, slug: str) -> dict[str, Any]:
        """The station's unit."""
        return self.units[f"streamfleet-icecast@{slug}.service"]

    def running(self, template: str = "streamfleet-icecast@") -> set[str]:
        """Slugs of the stations that run, or of what runs of another template."""
        return {
            name.partition("@")[2].removesuffix(".service")
            for name, unit in self.units.items()
            if unit["active"] == "active" and name.startswith(template)
        }

    @property
    def pairs(self) -> set[tuple[int, int]]:
        """What the kernel's set holds."""
        return {(uid, port) for uid, port in self._load()["pairs"]}

    def turn(self, **changes: Any) -> None:
        """Change what the double knows: ``taken`` ports, ``table`` loaded or not, ``pairs``."""
        self._save({**self._load(), **changes})

    def crash(self, slug: str) -> None:
        """Have a station's process die."""
        data = self._load()
        data["units"][f"streamfleet-icecast@{slug}.service"].update(active="failed", sub="failed")
        self._save(data)

    def files(self) -> dict[str, str]:
        """Everything below /etc, but for what is not Streamfleet's: path → content, or ``-> link``."""
        found: dict[str, str] = {}
        for path in sorted((self.root / "etc").rglob("*")):
            if path.is_symlink():
                found[str(path.relative_to(self.root))] = f"-> {path.readlink()}"
            elif path.is_file():
                found[str(path.relative_to(self.root))] = path.read_text()
        return found

    # The programs ---------------------------------------------------------------------------------------------------

    def run(self, argv: Sequence[str], stdin: str, timeout: float) -> Finished:
        """Stands in for ``streamfleet.node_apply.host.run_program``."""
        assert timeout > 0
        self.calls.append(list(argv))
        program, *rest = argv
        handler = getattr(self, "_" + program.replace("-", "_"), None)
        if handler is None:
            return Finished(127, err=f"{program}: No such file or directory")
        result: Finished = handler(rest, stdin)
        return result

    def _systemctl(self, rest: Sequence[str], _stdin: str) -> Finished:
        verb = rest[0]
        names = list(rest[rest.index("--") + 1 :]) if "--" in rest else list(rest[1:])
        if verb == "list-units":
            return self._list(names)
        if verb == "daemon-reload":
            return self._daemon_reload()
        if verb == "show":
            return Finished(0, "Result=exit-code\nExecMainStatus=1\nLoadState=loaded\n")
        if names == ["streamfleet-tenants.service"]:
            return self._firewall_unit()
        errors = [error for name in names if (error := self._one(verb, name))]
        return Finished(1 if errors else 0, err="\n".join(errors))

    def _list(self, patterns: Sequence[str]) -> Finished:
        lines = [
            f"{name} loaded {unit['active']} {unit['sub']} Icecast station"
            for name, unit in self.units.items()
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        ]
        return Finished(0, "\n".join(lines) + "\n")

    def _daemon_reload(self) -> Finished:
        data = self._load()
        for name, unit in data["units"].items():
            unit["user"] = self._user(name)
        self._save(data)
        return Finished(0)

    def _firewall_unit(self) -> Finished:
        if not (self.root / "etc/streamfleet/nftables").is_dir():
            return Finished(5, err="Failed to restart streamfleet-tenants.service: Unit not found.")
        self.turn(table=True, pairs=[])
        saved = self.root / "var/lib/streamfleet/node/tenant-ports.nft"
        return self._nft(["-f", "-"], saved.read_text()) if saved.exists() else Finished(0)

    def _one(self, verb: str, name: str) -> str:
        """Do one thing to one unit; returns what systemctl would complain."""
        data = self._load()
        unit = data["units"].get(name)
        error = ""
        if verb == "reset-failed":
            if unit is None:
                error = f"Failed to reset failed state of unit {name}: Unit {name} not loaded."
            elif unit["active"] == "failed":
                unit.update(active="inactive", sub="dead")
        elif verb == "stop":
            if unit is None:
                error = f"Failed to stop {name}: Unit {name} not loaded."
            else:
                del data["units"][name]
        elif verb == "reload":
            if unit is None or unit["active"] != "active":
                error = f"{name} is not active, cannot reload."
            else:
                unit["reloads"] += 1
                unit["config"] = self._config(name)
        elif verb in ("start", "restart"):
            if verb == "restart" or unit is None or unit["active"] != "active":
                begun, error = self._started(name, unit, data)
                if begun:
                    data["units"][name] = begun
        else:
            error = f"Unknown command verb {verb}."
        self._save(data)
        return error

    def _started(self, name: str, unit: dict[str, Any] | None, data: dict[str, Any]) -> tuple[dict[str, Any], str]:
        template = re.sub(r"@.*\.", "@.", name)
        if not (self.root / "etc/systemd/system" / template).exists():
            return {}, f"Failed to start {name}: Unit {name} not found."
        # A unit that is loaded keeps the user that it was loaded with.
        user = unit["user"] if unit else self._user(name)
        starts = unit["starts"] + 1 if unit else 1
        begun = {"active": "activating", "sub": "auto-restart", "user": user, "starts": starts, "reloads": 0}
        passwd = (self.root / "etc/passwd").read_text()
        if f"\n{user}:" not in passwd:
            return begun, f"Job for {name} failed because the control process exited with error code."
        try:
            config = self._config(name)
            port = self._port(name, config)
        except (OSError, ET.ParseError, ValueError):
            return begun, ""
        others = {other.get("port") for key, other in data["units"].items() if key != name and "port" in other}
        if port is not None and (port in others or port in data["taken"]):
            data["words"][name] = f"Could not create listener socket on port {port}"
            return begun, ""
        running = {**begun, "active": "active", "sub": "running", "config": config}
        return {**running, "port": port} if port is not None else running, ""

    def _user(self, name: str) -> str:
        dropin = self.root / f"etc/systemd/system/{name}.d/10-user.conf"
        found = re.search(r"^User=(.+)$", dropin.read_text(), re.M) if dropin.exists() else None
        return found[1] if found else "root"

    def _config(self, name: str) -> str:
        slug = name.partition("@")[2].removesuffix(".service")
        engine = name.partition("@")[0].removeprefix("streamfleet-")
        file = {"icecast": "icecast.xml", "forward": "forward.json"}.get(engine, "settings.json")
        return (self.root / "etc/streamfleet/instances" / engine / slug / file).read_text()

    def _port(self, name: str, config: str) -> int | None:
        """The port that a unit opens."""
        if "icecast" in name:
            return int(ET.fromstring(config).findtext("listen-socket/port") or 0)
        if "-forward@" in name:
            return int(json.loads(config)["ports"][0][0])
        return int(json.loads(config)["port"]) if "-live@" in name else None

    def _systemd_sysusers(self, rest: Sequence[str], stdin: str) -> Finished:
        if list(rest) != ["-"]:
            return Finished(1, err="Failed to open configuration file")
        for line in stdin.splitlines():
            kind, name, uid, comment, home, shell = shlex.split(line)
            if kind != "u" or not re.fullmatch(r"[a-z_][a-z0-9_-]*", name) or not uid.isdigit():
                return Finished(1, err=f"Unknown line: {line}")
            with (self.root / "etc/passwd").open("a") as stream:
                stream.write(f"{name}:x:{uid}:{uid}:{comment}:{home}:{shell}\n")
            with (self.root / "etc/group").open("a") as stream:
                stream.write(f"{name}:x:{uid}:\n")
        return Finished(0)

    def _userdel(self, rest: Sequence[str], _stdin: str) -> Finished:
        for path in (self.root / "etc/passwd", self.root / "etc/group"):
            lines = [line for line in path.read_text().splitlines(True) if not line.startswith(f"{rest[0]}:")]
            path.write_text("".join(lines))
        return Finished(0)

    def _journalctl(self, rest: Sequence[str], _stdin: str) -> Finished:
        name = rest[-1].partition("=")[2]
        return Finished(0, self._load()["words"].get(name, "") + "\n")

    def _nft(self, rest: Sequence[str], stdin: str) -> Finished:
        data = self._load()
        if not data["table"]:
            return Finished(1, err="Error: No such file or directory")
        if list(rest) == ["-f", "-"]:
            pairs = re.findall(r"(\d+) \. (\d+)", stdin)
            if not re.match(r"flush set inet streamfleet_tenants allowed\n", stdin):
                return Finished(1, err="Error: File exists")
            self.turn(pairs=[[int(uid), int(port)] for uid, port in pairs])
            return Finished(0)
        elements = [{"concat": pair} for pair in data["pairs"]]
        entry: dict[str, Any] = {"name": "allowed"}
        if elements:
            entry["elem"] = elements
        return Finished(0, json.dumps({"nftables": [{"metainfo": {}}, {"set": entry}]}))

    # What it knows --------------------------------------------------------------------------------------------------

    def _load(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.root / "double.json").read_text())
        return data

    def _save(self, data: dict[str, Any]) -> None:
        new = self.root / "double.new"
        new.write_text(json.dumps(data))
        new.replace(self.root / "double.json")
        header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
        open_ports = [
            (unit["user"][2:], unit["port"])
            for unit in data["units"].values()
            if unit["active"] == "active" and "port" in unit
        ]
        open_ports += [("0", port) for port in data["taken"]]
        lines = [
            f"   {number}: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000  {uid}\n"
            for number, (uid, port) in enumerate(open_ports)
        ]
        (self.root / "proc/net/tcp").write_text(header + "".join(lines))
