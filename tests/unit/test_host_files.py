"""What streamfleet_host_files does to a host: over a real directory tree, with doubles of useradd, usermod, systemctl.

The doubles refuse what the real programs would: a user who is there already, a group that is not.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from streamfleet.host_files.apply import DUE, apply
from streamfleet.host_files.errors import HostError
from streamfleet.host_files.wanted import Wanted
from streamfleet.node_apply.host import Finished, Host

ME = os.getuid()
PASSWD = f"root:x:{ME}:0:root:/root:/bin/bash\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
USER = {"comment": "", "home": "/nonexistent", "shell": "/usr/sbin/nologin"}
FILE = {"content": None, "generate": None, "edits": None, "fill": {}, "validate": [], "show": True}


class HostDouble:
    """The programs over the tree ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[list[str]] = []
        self.refuse = ""
        for folder in ("etc/systemd/system", "run", "var/lib"):
            (root / folder).mkdir(parents=True)
        (root / "etc/passwd").write_text(PASSWD)
        (root / "etc/group").write_text("root:x:0:\nwww-data:x:33:\nssl-cert:x:40:\n")

    def host(self) -> Host:
        return Host(root=self.root, run=self.run, own=False)

    def run(self, argv: Sequence[str], stdin: str, timeout: float) -> Finished:
        self.calls.append(list(argv))
        program, *rest = argv
        if program == self.refuse:
            return Finished(1, err=f"{program}: no")
        if program == "check-tool":
            bad = "bad" in Path(rest[-1]).read_text()
            return Finished(1 if bad else 0, err="line 1: bad word" if bad else "")
        if program == "systemctl":
            assert rest == ["daemon-reload"]
            return Finished(0)
        options = dict(itertools.pairwise(rest))
        name = rest[-1]
        users, groups = (self.root / "etc/passwd").read_text(), (self.root / "etc/group").read_text()
        more = options.get("--groups", "").split(",") if "--groups" in options else []
        if unknown := [group for group in more if not re.search(rf"^{group}:", groups, re.MULTILINE)]:
            return Finished(6, err=f"{program}: group '{unknown[0]}' does not exist")
        if program == "useradd":
            if re.search(rf"^{name}:", users, re.MULTILINE):
                return Finished(9, err=f"useradd: user '{name}' already exists")
            line = f"{name}:x:900:900:{options['--comment']}:{options['--home-dir']}:{options['--shell']}\n"
            (self.root / "etc/passwd").write_text(users + line)
            groups += f"{name}:x:900:\n"
        elif program == "usermod":
            assert re.search(rf"^{name}:", users, re.MULTILINE)
            if "--comment" in options:
                users = re.sub(rf"^({name}(?::[^:]*){{3}}):[^:]*", rf"\1:{options['--comment']}", users, flags=re.M)
                (self.root / "etc/passwd").write_text(users)
        else:
            return Finished(127, err=f"{program}: No such file or directory")
        for group in more:
            groups = re.sub(rf"^({group}:x:\d+:)(.*)$", rf"\1{name}", groups, flags=re.MULTILINE)
        (self.root / "etc/group").write_text(groups)
        return Finished(0)


@pytest.fixture
def double(tmp_path: Path) -> HostDouble:
    return HostDouble(tmp_path)


def wanted(**parts: Any) -> Wanted:
    """As the module fills in its defaults."""
    owner = {"owner": "root", "group": "root"}
    options: dict[str, Any] = {"absent": parts.get("absent", []), "links": parts.get("links", [])}
    options["aside"] = parts.get("aside", [])
    options["users"] = [
        {**USER, "create_home": False, "keys_only": False, "groups": [], **item} for item in parts.get("users", [])
    ]
    options["directories"] = [{**owner, "mode": "0755", **item} for item in parts.get("directories", [])]
    options["files"] = [{**FILE, **owner, "mode": "0644", **item} for item in parts.get("files", [])]
    options["leftovers"] = [{"keep": [], **item} for item in parts.get("leftovers", [])]
    return Wanted.of(options)


def both(double: HostDouble, **parts: Any) -> dict[str, Any]:
    """Apply; check mode before must say the same and do nothing, and a second time must change nothing."""
    before = tree(double.root)
    foretold = apply(double.host(), wanted(**parts), check=True)
    assert tree(double.root) == before
    done = apply(double.host(), wanted(**parts), show=True)
    assert {**foretold, "diff": None} == {**done, "diff": None}
    again = apply(double.host(), wanted(**parts))
    assert (again["changed"], again["paths"], again["users"]) == (False, [], [])
    return done


def tree(root: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path): (path.lstat().st_mode, path.read_text() if path.is_file() and not path.is_symlink() else "")
        for path in sorted(root.rglob("*"))
    }


def test_users_directories_files_and_links(double: HostDouble) -> None:
    done = both(
        double,
        users=[{"name": "sf-example", "comment": "Example"}],
        directories=[{"path": "/etc/example", "group": "sf-example", "mode": "2750"}, {"path": "/etc/example/d"}],
        files=[{"path": "/etc/example/d/x.conf", "content": "one\n", "mode": "0640", "group": "sf-example"}],
        links=[{"path": "/etc/example/current", "to": "/etc/example/d"}],
    )
    assert done["users"] == ["sf-example"]
    assert done["paths"] == ["/etc/example", "/etc/example/d", "/etc/example/d/x.conf", "/etc/example/current"]
    assert (double.root / "etc/example").stat().st_mode & 0o7777 == 0o2750
    assert (double.root / "etc/example/d/x.conf").stat().st_mode & 0o7777 == 0o640
    assert str((double.root / "etc/example/current").readlink()) == "/etc/example/d"
    useradd = double.calls[0]
    assert useradd[:3] == ["useradd", "--system", "--user-group"]
    assert useradd[useradd.index("--password") + 1] == "!"
    assert done["diff"][0]["after"] == "one\n"
    assert ["systemctl", "daemon-reload"] not in double.calls


def test_a_user_is_corrected_and_joins_groups(double: HostDouble) -> None:
    both(double, users=[{"name": "sf-example", "keys_only": True}])
    assert double.calls[0][double.calls[0].index("--password") + 1] == "*"
    both(double, users=[{"name": "sf-example", "comment": "New", "groups": ["ssl-cert"]}])
    assert "ssl-cert:x:40:sf-example" in (double.root / "etc/group").read_text()
    # What others have put it into is left alone.
    assert not apply(double.host(), wanted(users=[{"name": "sf-example", "comment": "New"}]))["changed"]


def test_what_a_package_brings_is_edited_and_keeps_its_mode(double: HostDouble) -> None:
    place = double.root / "etc/nginx.conf"
    place.write_text("user www-data;\n  worker_connections 768;\n")
    place.chmod(0o600)
    edits = [{"regexp": r"^(\s*worker_connections)\s+\d+;", "replace": r"\1 4096;"}]
    both(double, files=[{"path": "/etc/nginx.conf", "edits": edits}])
    assert place.read_text() == "user www-data;\n  worker_connections 4096;\n"
    assert place.stat().st_mode & 0o777 == 0o600


def test_secrets_are_made_once_and_filled_in_on_the_host(double: HostDouble) -> None:
    parts = {
        "files": [
            {"path": "/etc/secret", "generate": "<secret hex 24>\n", "mode": "0600"},
            {"path": "/etc/env", "generate": "A='<secret urlsafe 50>'\nB='<secret base64 32>'\n", "mode": "0600"},
            {"path": "/etc/conf", "content": "key @S@;\n", "fill": {"@S@": "/etc/secret"}},
        ]
    }
    done = both(double, **parts)
    secret = (double.root / "etc/secret").read_text().strip()
    assert re.fullmatch(r"[0-9a-f]{48}", secret)
    assert (double.root / "etc/conf").read_text() == f"key {secret};\n"
    lines = (double.root / "etc/env").read_text().splitlines()
    assert re.fullmatch(r"A='[\w-]{67}'", lines[0])
    assert re.fullmatch(r"B='[\w-]{43}='", lines[1])
    assert secret not in str(done)
    # Only its mode is looked after: what is in it may be a database by now.
    (double.root / "etc/secret").write_text("mine\n")
    (double.root / "etc/secret").chmod(0o644)
    assert both(double, **parts)["paths"] == ["/etc/secret", "/etc/conf"]
    assert (double.root / "etc/secret").read_text() == "mine\n"
    assert (double.root / "etc/secret").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_not_valid_is_left_as_it_was(double: HostDouble) -> None:
    both(double, files=[{"path": "/etc/x", "content": "good\n", "validate": ["check-tool", "%s"]}])
    with pytest.raises(HostError, match="/etc/x would not be valid, so it was left as it was: line 1: bad word"):
        apply(double.host(), wanted(files=[{"path": "/etc/x", "content": "bad\n", "validate": ["check-tool", "%s"]}]))
    assert (double.root / "etc/x").read_text() == "good\n"
    assert sorted(path.name for path in (double.root / "etc").iterdir()) == ["group", "passwd", "systemd", "x"]


def test_systemd_reads_units_that_changed_also_after_a_killed_run(double: HostDouble) -> None:
    unit = {"path": "/etc/systemd/system/x.service", "content": "[Service]\n"}
    assert both(double, files=[unit])["daemon_reload"]
    assert double.calls == [["systemctl", "daemon-reload"]]
    changed = {**unit, "content": "[Service]\nNice=5\n"}
    double.refuse = "systemctl"
    with pytest.raises(HostError, match="systemd cannot read its units"):
        apply(double.host(), wanted(files=[changed]))
    assert (double.root / DUE.lstrip("/")).exists()
    double.refuse = ""
    assert apply(double.host(), wanted(files=[changed])) == {
        "changed": True,
        "users": [],
        "paths": [],
        "daemon_reload": True,
        "diff": [],
    }
    assert not apply(double.host(), wanted(files=[changed]))["changed"]


def test_what_is_in_the_way_goes_first_and_leftovers_last(double: HostDouble) -> None:
    folder = double.root / "etc/x.d"
    folder.mkdir()
    for name in ("default", "a-old.js", "a-new.js", "other.txt"):
        (folder / name).write_text(name)
    (double.root / "etc/tree/deep").mkdir(parents=True)
    done = both(
        double,
        absent=["/etc/x.d/default", "/etc/tree", "/etc/never-there"],
        files=[{"path": "/etc/x.d/a-new.js", "content": "new"}],
        leftovers=[{"directory": "/etc/x.d", "pattern": "*.js", "keep": ["/etc/x.d/a-new.js"]}],
    )
    assert done["paths"] == ["/etc/x.d/default", "/etc/tree", "/etc/x.d/a-new.js", "/etc/x.d/a-old.js"]
    assert sorted(path.name for path in folder.iterdir()) == ["a-new.js", "other.txt"]


def test_what_others_have_in_the_way_is_put_aside_and_back(double: HostDouble) -> None:
    site, kept = double.root / "etc/default", double.root / "etc/kept/default"
    site.symlink_to("available/default")
    there, back = (
        {"path": "/etc/default", "to": "/etc/kept/default"},
        {"path": "/etc/kept/default", "to": "/etc/default"},
    )
    done = both(double, directories=[{"path": "/etc/kept"}], aside=[there])
    assert done["paths"] == ["/etc/kept", "/etc/default"]
    assert str(kept.readlink()) == "available/default"
    # What was there first counts; on the way back that is what somebody has made meanwhile.
    site.write_text("another")
    both(double, aside=[there])
    assert not os.path.lexists(site)
    both(double, aside=[back])
    assert str(site.readlink()) == "available/default"
    both(double, aside=[there])
    site.write_text("another")
    both(double, aside=[back], absent=["/etc/kept"])
    assert site.read_text() == "another"


def test_links_that_others_made_are_not_followed(double: HostDouble) -> None:
    outside = double.root / "outside"
    outside.mkdir(mode=0o700)
    victim = outside / "victim"
    victim.write_text("precious")
    (double.root / "etc/x").symlink_to(victim)
    both(double, files=[{"path": "/etc/x", "content": "ours\n"}])
    assert victim.read_text() == "precious"
    # A database that is a link would be made anew, and lost from sight.
    (double.root / "etc/db").symlink_to(victim)
    with pytest.raises(HostError, match=r"/etc/db is a link to .*victim: put the file itself there"):
        apply(double.host(), wanted(files=[{"path": "/etc/db", "generate": ""}]))


@pytest.mark.skipif(ME != 0, reason="a link of another user cannot be made without being root")
def test_a_directory_behind_a_link_of_root_is_fine_and_behind_another_ones_is_not(double: HostDouble) -> None:
    (double.root / "disk").mkdir(mode=0o700)
    link = double.root / "var/lib/example"
    link.symlink_to(double.root / "disk")
    both(double, directories=[{"path": "/var/lib/example", "mode": "0750"}])
    assert (double.root / "disk").stat().st_mode & 0o777 == 0o750
    os.lchown(link, 33, 33)
    with pytest.raises(HostError, match="/var/lib/example"):
        apply(double.host(), wanted(directories=[{"path": "/var/lib/example"}]))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"files": [{"path": "/etc/x"}]}, "/etc/x has none of them; give exactly one of content, generate and edits"),
        ({"files": [{"path": "/etc/x", "content": "", "generate": ""}]}, "has content and generate"),
        ({"files": [{"path": "etc/x", "content": ""}]}, "'etc/x' is not an absolute path"),
        ({"files": [{"path": "/etc/../x", "content": ""}]}, "is not an absolute path; give one from / on, without"),
        ({"files": [{"path": "/etc/x", "content": "", "mode": "u=rw"}]}, "mode 'u=rw' is not an octal number"),
        ({"files": [{"path": "/etc/x", "edits": [{"regexp": "(", "replace": ""}]}]}, r"'\(' is not a pattern"),
        ({"files": [{"path": "/etc/x", "content": "", "validate": ["nginx"]}]}, "lacks %s"),
    ],
)
def test_options_that_cannot_be_used(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(HostError, match=message):
        wanted(**parts)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"files": [{"path": "/etc/x", "content": "", "owner": "nobody-here"}]}, "user nobody-here does not exist"),
        ({"directories": [{"path": "/etc/a/b"}]}, "/etc/a/b cannot be made: /etc/a is not there; put it before"),
        ({"directories": [{"path": "/etc/passwd"}]}, "/etc/passwd is there and is not a directory"),
        (
            {"files": [{"path": "/etc/a/b", "content": ""}]},
            "/etc/a/b cannot be put there: directory .*/etc/a is missing",
        ),
        ({"files": [{"path": "/etc/no", "edits": []}]}, "/etc/no is to be edited, but is not there"),
        ({"files": [{"path": "/etc/x", "content": "", "fill": {"@": "/etc/no"}}]}, "made with /etc/no, which is not"),
        ({"files": [{"path": "/run", "content": ""}]}, "/run is not a file: remove it"),
        (
            {"users": [{"name": "x", "groups": ["nobody-here"]}]},
            "user x cannot be made: .*'nobody-here' does not exist",
        ),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    double: HostDouble, parts: dict[str, Any], message: str
) -> None:
    before = tree(double.root)
    with pytest.raises(HostError, match=message):
        apply(double.host(), wanted(**parts))
    assert tree(double.root) == before
