"""Backups of a real node that is on the air, and what comes back of them on a node that has nothing.

Tests playbooks: backup.yml restore.yml restore_customer.yml.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamfleet.errors import NotFound
from streamfleet.http import Client

from demo import media
from demo.show import credentials, fetch_when_there, try_to_publish, wait_until_running
from demo.stage import NODE, PANEL_HOST, ROOT, STREAM_HOST, Stage
from tests.live.backups import REPOSITORY, Site, forget
from tests.live.streams import Listener, Source, on_air
from tests.nodes import podman
from tests.nodes.fleet import Fleet

pytestmark = pytest.mark.live

RADIO, NIGHT, CHANNEL = "ada-fm", "ada-night", "lin-tv"
PASSWORD = "what-ada-logs-in-with"
DOCUMENT: dict[str, Any] = {
    "customers": [
        {"username": "ada", "name": "Ada Radio", "email": "ada@radio.example", "password": PASSWORD},
        {"username": "lin", "name": "Lin Television", "email": "lin@tv.example"},
    ],
    "media_services": [
        {"slug": RADIO, "name": "Ada FM", "customer": "ada", "engine": "icecast"},
        {"slug": NIGHT, "name": "Ada by Night", "customer": "ada", "engine": "icecast", "autodj": {}},
        {"slug": CHANNEL, "name": "Lin TV", "customer": "lin", "engine": "nginx_rtmp"},
    ],
    "playlists": [{"media_service": NIGHT, "name": "night", "folder": "night"}],
}


@contextlib.contextmanager
def counted(stage: Stage, api: Client, slug: str) -> Iterator[None]:
    """A source and two listeners, by HTTPS and on the port; at the end neither has lost a line."""
    port = api.request("GET", f"/media-services/{slug}").data["port"]
    source = Source(stage.address, port, "/stream", credentials(api, slug)["source_password"])
    with on_air(source):
        proxied = Listener(stage.address, 443, STREAM_HOST, f"/listen/{slug}/stream", str(stage.ca))
        direct = Listener(stage.address, port, STREAM_HOST, "/stream")
        for listener in (proxied, direct):
            listener.start()
            assert listener.playing.wait(20), listener.heard
        yield
        assert source.error is None
        assert source.is_alive()
        for heard in (proxied.stop(), direct.stop()):
            assert (heard.disconnects, heard.lost_lines) == (0, 0), heard
            assert heard.bytes > 50_000, heard


@contextlib.contextmanager
def published(stage: Stage, key: str) -> Iterator[None]:
    """A video encoder that stays connected."""
    command = media.video_publisher(f"rtmp://{STREAM_HOST}/live/{key}", seconds=900)
    with subprocess.Popen(
        stage.inside(command), cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as encoder:
        try:
            yield
            assert encoder.poll() is None, encoder.stderr.read() if encoder.stderr else ""
        finally:
            encoder.terminate()
            encoder.wait(20)


def log_in(stage: Stage, name: str, password: str, jar: Path) -> str:
    """Where the panel's form sends who logs in: the front page, or nowhere (the form again)."""
    curl = ["curl", "--connect-to", f"::{NODE}:", "-s", "--cacert", str(stage.ca), "-b", str(jar), "-c", str(jar)]
    page = f"https://{PANEL_HOST}/login/"
    form = stage.run_inside([*curl, page]).stdout
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
    assert token, form
    fields = {"csrfmiddlewaretoken": token[1], "username": name, "password": password}
    sent = [word for key, value in fields.items() for word in ("--data-urlencode", f"{key}={value}")]
    told = ["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"]
    return stage.run_inside([*curl, *told, "-e", page, *sent, page]).stdout.strip()


def move(source: Stage, target: Stage, path: str) -> None:
    """Carry a folder from one node to another, as one carries a disk."""
    one, other = (Fleet(stage.fleet).node(NODE).container for stage in (source, target))
    send = [*podman.command(), "exec", one, "tar", "-C", "/", "-cf", "-", path.lstrip("/")]
    take = [*podman.command(), "exec", "--interactive", other, "tar", "-C", "/", "-xf", "-"]
    with subprocess.Popen(send, stdout=subprocess.PIPE) as sending:
        subprocess.run(take, stdin=sending.stdout, check=True, timeout=300)
    assert sending.returncode == 0


def test_a_backup_is_heard_by_nobody(platform: Stage, tmp_path: Path) -> None:
    site = Site(platform, tmp_path)
    customer, slug = f"b{secrets.token_hex(3)}", f"b{secrets.token_hex(3)}"
    document = {
        "customers": [{"username": customer, "name": customer, "email": "b@live.example"}],
        "media_services": [{"slug": slug, "name": slug, "customer": customer, "engine": "icecast"}],
    }
    platform.api().request("POST", "/apply", {"document": document})
    site.play("install", "--tags", "backup")
    wait_until_running(platform.api(), (slug,), 90)
    with counted(platform, platform.api(), slug):
        site.play("backup")
    told = site.status()
    assert told["state"] == "succeeded", told
    assert told["result"]["rows"] > 50
    shown = site.job("restore")["result"]
    assert (shown["done"], shown["missing"]) == (False, 0), shown
    assert shown["database"] in ("same", "other")


@pytest.mark.full
def test_one_customer_comes_back_beside_others_untouched(platform: Stage, tmp_path: Path) -> None:
    site, api = Site(platform, tmp_path), platform.api()
    names = [f"r{secrets.token_hex(3)}" for _ in range(2)]
    lost, other = names
    document = {
        "customers": [
            {"username": name, "name": name, "email": "r@live.example", "password": PASSWORD} for name in names
        ],
        "media_services": [
            {"slug": lost, "name": lost, "customer": lost, "engine": "icecast", "autodj": {}},
            {"slug": other, "name": other, "customer": other, "engine": "icecast"},
        ],
        "playlists": [{"media_service": lost, "name": "night", "folder": "night"}],
        "djs": [{"media_service": lost, "username": "mara", "name": "Mara"}],
    }
    api.request("POST", "/apply", {"document": document})
    site.play("install", "--tags", "backup")
    wait_until_running(api, (lost, other), 120)
    (tmp_path / "music" / "night").mkdir(parents=True)
    subprocess.run(media.recording(tmp_path / "music" / "night" / "one.mp3", media.MUSIC), check=True, timeout=60)
    given = json.dumps({"media_folder_customer": lost, "media_folder_src": str(tmp_path / "music")})
    platform.playbook("playbooks/media_folder.yml", "-e", given)
    site.play("backup")
    password = credentials(api, lost)["source_password"]
    mara = api.request("GET", f"/media-services/{lost}/djs/mara/credentials").data["credentials"]
    uid = api.request("GET", f"/customers/{lost}").data["uid"]
    files = f"find /var/lib/streamfleet/media/{uid} -type f -exec sha256sum {{}} + | sort"
    library = site.sh(files)
    assert "night/one.mp3" in library

    # Deleted, and the grace period over: nothing is left of him.
    api.request("POST", "/apply", {"document": {"customers": [{"username": lost, "state": "absent"}]}})
    forget(site, lost)
    site.sh(f"rm -rf /var/lib/streamfleet/media/{uid}")
    api.request("POST", "/apply", {"document": {"customers": [{"username": other, "name": "Changed since"}]}})
    with counted(platform, api, other):
        named = ("-e", f"restore_customer_username={lost}")
        refused = site.refused("restore_customer", *named, "-e", f"restore_customer_confirm={other}")
        assert f"Give yes, no, or {lost}" in refused
        site.play("restore_customer", *named)
        with pytest.raises(NotFound):
            api.request("GET", f"/customers/{lost}")
        site.play("restore_customer", *named, "-e", f"restore_customer_confirm={lost}")
        wait_until_running(api, (lost,), 120)
    assert api.request("GET", f"/customers/{lost}").data["uid"] == uid
    assert site.sh(files) == library
    assert credentials(api, lost)["source_password"] == password
    assert api.request("GET", f"/media-services/{lost}/djs/mara/credentials").data["credentials"] == mara
    assert log_in(platform, lost, PASSWORD, tmp_path / "jar").startswith("302")
    status, size = fetch_when_there(platform, f"https://{STREAM_HOST}/listen/{lost}/stream")
    assert (status, size > 10_000) == (200, True)
    assert api.request("GET", f"/customers/{other}").data["name"] == "Changed since"
    asked = {"kind": "media_service", "key": lost, "actor": "restore of a backup"}
    assert api.request("GET", "/audit-log", query=asked).data["items"]
    # Once more: nothing is changed.
    assert site.play("restore_customer", *named, "-e", "restore_customer_confirm=yes").changed == 0


@pytest.mark.full
def test_what_is_lost_comes_back_on_a_node_that_has_nothing(tmp_path: Path) -> None:
    old = Stage(f"lost{secrets.token_hex(3)}", tmp_path / "old")
    new = Stage(f"new{secrets.token_hex(3)}", tmp_path / "new")
    before, after = Site(old, tmp_path / "before"), Site(new, tmp_path / "after")
    try:
        old.start()
        before.play("install")
        old.hand_over()
        old.api().request("POST", "/apply", {"document": DOCUMENT})
        wait_until_running(old.api(), (RADIO, NIGHT, CHANNEL), 120)
        music = tmp_path / "music" / "night"
        music.mkdir(parents=True)
        subprocess.run(media.recording(music / "one.mp3", media.MUSIC), check=True, timeout=60)
        given = json.dumps({"media_folder_customer": "ada", "media_folder_src": str(music.parent)})
        old.playbook("playbooks/media_folder.yml", "-e", given)
        key = credentials(old.api(), CHANNEL)["stream_key"]
        password = credentials(old.api(), RADIO)["source_password"]
        with counted(old, old.api(), RADIO), published(old, key):
            before.play("backup")
            before.play("backup")
        written = before.status()["result"]
        assert written["files"] > 10
        bad_input(before)
        by_sftp(before)
        token = old.variables()["STREAMFLEET_TOKEN"]
        library = before.sh("cd /var/lib/streamfleet/media && find . -type f -exec sha256sum {} + | sort")
        new.start()
        move(old, new, REPOSITORY)
        old.remove()

        after.play("install")
        untouched = after.sh("sha256sum /etc/streamfleet/panel/secrets.env /etc/streamfleet/ca/ca.key")
        after.play("restore")
        shown = after.status()["result"]
        assert (shown["done"], shown["database"]) == (False, "other")
        assert "/etc/streamfleet/ca/ca.key" in shown["conflicts"]
        assert after.sh("sha256sum /etc/streamfleet/panel/secrets.env /etc/streamfleet/ca/ca.key") == untouched
        after.play("restore", "-e", f"restore_confirm={NODE}")
        done = after.status()["result"]
        assert (done["done"], done["differing"], done["equal"]) == (True, 0, done["compared"]), done
        assert done["compared"] >= written["files"]
        assert after.sh("cd /var/lib/streamfleet/media && find . -type f -exec sha256sum {} + | sort") == library

        new.ca.write_text(new.on_node(["cat", "/etc/streamfleet/ca/ca.pem"]))
        api = Client(f"https://127.0.0.1:{new.ports.https}", token, str(new.ca))
        wait_until_running(api, (RADIO, NIGHT, CHANNEL), 180)
        assert credentials(api, RADIO)["source_password"] == password
        assert log_in(new, "ada", PASSWORD, tmp_path / "jar").startswith("302")
        assert log_in(new, "ada", "another", tmp_path / "jar2").startswith("200")
        assert try_to_publish(new, key)
        with counted(new, api, RADIO):
            time.sleep(8)
        status, size = fetch_when_there(new, f"https://{STREAM_HOST}/listen/{NIGHT}/stream")
        assert (status, size > 10_000) == (200, True)

        # A second time nothing is taken back of what has come since.
        late = {"customers": [{"username": "late", "name": "Late", "email": "late@radio.example"}]}
        api.request("POST", "/apply", {"document": late})
        assert after.play("restore", "-e", f"restore_confirm={NODE}").failed == 0
        again = after.status()["result"]
        assert (again["database"], again["missing"], again["differing"]) == ("restored", 0, 0), again
        assert api.request("GET", "/customers/late").data["name"] == "Late"
        # The nodes are converged once more, in case that the first run was killed before it came to that.
        deadline = time.monotonic() + 120
        while (node := api.request("GET", f"/nodes/{NODE}").data)["observed_generation"] < node["generation"]:
            assert time.monotonic() < deadline, node
            time.sleep(1)
        after.play("self_check")
    finally:
        for stage in (old, new):
            stage.remove()


def bad_input(site: Site) -> None:
    """What a backup says of a wrong password, of a kill, of a full disk, of a damaged repository, of another job."""
    secret = "/etc/streamfleet/backup/secrets.env"
    listed = json.loads(site.sh("streamfleet-backup list"))
    assert len(listed) == 2
    site.sh(f"cp -p {secret} /root/kept && sed -i s/kept-where/never-was/ {secret}")
    told = site.job("backup")
    assert (told["state"], "streamfleet_backup_password does not open it" in told["message"]) == ("failed", True), told
    site.sh(f"cp -p /root/kept {secret}")

    # Killed in the middle: what was not finished is no backup, and the next one is.
    site.sh("head -c 100000000 /dev/urandom >/var/lib/streamfleet/media/filler")
    # Held where it stores, however slow this machine is.
    held = 'until grep -q \'"phase": "store"\' /run/streamfleet-backup/status.json; do sleep 0.05; done'
    stop = "systemctl kill -s STOP streamfleet-backup.service"
    begun = json.loads(site.sh(f"streamfleet-backup begin backup; {held}; {stop}"))
    busy = json.loads(site.sh("streamfleet-backup begin backup"))
    assert (busy["running"], busy["id"]) == (True, begun["id"])
    assert "a backup works on this host since" in site.sh("streamfleet-backup begin restore 2>&1 || true")
    site.sh("systemctl kill -s KILL streamfleet-backup.service")
    told = json.loads(site.sh(f"streamfleet-backup wait backup {begun['id']}"))
    assert (told["state"], "ended from outside" in told["message"]) == ("failed", True), told
    assert len(json.loads(site.sh("streamfleet-backup list"))) == 2
    assert site.job("backup")["state"] == "succeeded"

    # A disk that is full.
    site.sh("mkdir -p /srv/small && mount -t tmpfs -o size=1500k tmpfs /srv/small")
    site.sh(f"sed -i 's,{REPOSITORY},/srv/small/x,' {secret}")
    site.sh("mkdir -p /etc/systemd/system/streamfleet-backup.service.d")
    place = "/etc/systemd/system/streamfleet-backup.service.d/test.conf"
    site.sh(f"printf '[Service]\\nReadWritePaths=/srv/small\\n' >{place} && systemctl daemon-reload")
    told = site.job("backup")
    assert (told["state"], "the disk is full" in told["message"]) == ("failed", True), told
    site.sh(f"rm -r {place} /var/lib/streamfleet/media/filler && umount /srv/small && systemctl daemon-reload")
    site.sh(f"cp -p /root/kept {secret}")

    # A repository that has lost a piece.
    site.sh(f"cp -a {REPOSITORY} /srv/whole && cd {REPOSITORY}/data && rm $(find . -type f -size +2k | head -1)")
    told = site.job("backup")
    assert (told["state"], "damaged or incomplete" in told["message"]) == ("failed", True), told
    site.sh(f"rm -r {REPOSITORY}/* && cp -a /srv/whole/. {REPOSITORY}/ && rm -r /srv/whole")
    assert site.job("backup")["state"] == "succeeded"
    refused = site.refused("restore", "-e", "restore_snapshot=0123456789")
    assert "restore_snapshot is '0123456789', which is no backup" in refused
    assert "Unknown: restore_snapshto" in site.refused("restore", "-e", "restore_snapshto=x")


def by_sftp(site: Site) -> None:
    """A server that is reached by SFTP, known by its key, and nothing of it believed that has another one."""
    site.sh("useradd --create-home keeper && install -d -o keeper -g keeper -m 700 ~keeper/.ssh")
    site.sh("rm -f /root/k && ssh-keygen -q -t ed25519 -N '' -f /root/k && cp /root/k.pub ~keeper/.ssh/authorized_keys")
    key, server = site.sh("cat /root/k"), site.sh("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub")
    sftp = {
        "streamfleet_backup_repository": "sftp:keeper@127.0.0.1:repository",
        "streamfleet_backup_ssh_key": key,
        "streamfleet_backup_ssh_known_hosts": f"127.0.0.1 {server}",
    }
    site.play("install", "--tags", "backup", **sftp)
    site.play("backup", **sftp)
    assert len(json.loads(site.sh("streamfleet-backup list"))) == 1
    site.sh("cut -d' ' -f1,2 /root/k.pub | sed 's/^/127.0.0.1 /' >/etc/streamfleet/backup/known_hosts")
    told = site.job("backup")
    assert (told["state"], "Host key verification failed" in told["message"]) == ("failed", True), told
    site.play("install", "--tags", "backup")
    assert site.job("backup")["state"] == "succeeded"
