"""The doctor over a node that is on the air: each fault is seeded alone, named by its cause, mended, and forgotten.

Tests playbooks: self_check.yml.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import secrets
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from demo.show import credentials, try_to_publish
from demo.stage import NODE, PANEL_HOST, ROOT, STREAM_HOST, DemoError, Stage
from tests.live.streams import Source, on_air
from tests.live.test_platform import account, apply, published, running, station

pytestmark = pytest.mark.live

PLACE = "/root/doctor"
LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from streamfleet.doctor.about import About
from streamfleet.doctor.run import examine
from streamfleet.node_apply.host import Host
given = json.load(sys.stdin)
print(json.dumps(examine(Host(), About.of(given["about"]), fix=given["fix"])))
"""
PANEL_UNITS = "streamfleet-panel.service streamfleet-panel-jobs.service streamfleet-worker.service"
TLS = f"/etc/streamfleet/tls/{STREAM_HOST}"
DATABASE = "/var/lib/streamfleet/panel/panel.sqlite3"
MEDIA = "/var/lib/streamfleet/media"
FTP = """\
---
- name: {name}
  hosts: streamfleet_nodes
  become: true
  tasks:
    - name: {name}
      ansible.builtin.import_role:
        name: file_transfer
        tasks_from: {entry}
      vars:
        streamfleet_file_transfer_host: stream.demo.localhost
"""


@dataclass(frozen=True)
class Fault:
    """``seed`` and ``mend`` are scripts; ``also``: checks that may be told beside: the seed makes them true, too."""

    check: str
    subject: str
    seed: str
    mend: str
    also: tuple[str, ...] = ()
    #: Whether the doctor's own safe fix is what mends it.
    fix: bool = False


class Ward:
    """The node, a station and a channel on it, and the doctor."""

    def __init__(self, stage: Stage, slug: str, channel: str) -> None:
        self.stage, self.slug, self.channel = stage, slug, channel
        self.unit = f"streamfleet-icecast@{slug}.service"
        self.address, self.port, self.password = published(stage, slug)
        self.passive = False
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            archive.add(
                ROOT / "module_utils/streamfleet",
                "streamfleet",
                filter=lambda it: None if "__pycache__" in it.name else it,
            )
        packed = base64.b64encode(buffer.getvalue()).decode()
        stage.on_node(["sh", "-c", f"rm -rf {PLACE}; mkdir {PLACE} && base64 -d | tar -xzC {PLACE}"], stdin=packed)

    def sh(self, script: str, timeout: float = 120) -> str:
        return self.stage.on_node(["sh", "-ec", script], timeout=timeout)

    def examine(self, *, fix: bool = False, off: float = 0) -> dict[str, Any]:
        """What the doctor says; ``off``: seconds that the controller's clock is taken for another."""
        opening = {"protocol": "tcp", "sources": []}
        about = {
            "panel_host": PANEL_HOST,
            "stream_host": STREAM_HOST,
            "https_port": 443,
            "addresses": [self.address],
            "servers": [
                {"unit": "nginx.service", "ports": [80, 443], "protocol": "tls"},
                {"unit": "streamfleet-rtmp.service", "ports": [1935], "protocol": "rtmp"},
                {"unit": "streamfleet-rtmps.service", "ports": [1936], "protocol": "tcp"},
            ],
            "open": [
                {**opening, "name": "web", "ports": ["80", "443"]},
                {**opening, "name": "nginx_rtmp RTMP", "ports": ["1935"]},
                {**opening, "name": "nginx_rtmp RTMPS", "ports": ["1936"]},
                {**opening, "name": "services", "ports": [f"8100-{self.stage.last_port}"]},
                *(
                    [{**opening, "name": "file transfer", "ports": ["21", "2022", "20000-20999"]}]
                    if self.passive
                    else []
                ),
            ],
            "time": time.time() + off,
            "engines": ["icecast", "nginx_rtmp"],
            "minutes": 15,
        }
        order = json.dumps({"about": about, "fix": fix})
        found: dict[str, Any] = json.loads(
            self.stage.on_node(["python3", "-IBc", LOOK, PLACE], stdin=order, timeout=180)
        )
        return found

    def found(self, **more: Any) -> dict[str, dict[str, Any]]:
        """What is found, by check and subject; encoders of others apart, whose refusals stay told for some minutes."""
        return {
            f"{it['check']} {it['subject']}": it
            for it in self.examine(**more)["findings"]
            if not it["check"].startswith("encoders.")
        }

    def quiet(self, seconds: float = 30) -> None:
        """Nothing is found, at last."""
        deadline = time.monotonic() + seconds
        while found := self.found():
            assert time.monotonic() < deadline, found
            time.sleep(0.5)

    def suffers(self, fault: Fault) -> None:
        """Seed a fault, have it named and nothing else, mend it, and hear nothing of it."""
        subject = fault.subject
        try:
            self.sh(fault.seed)
            deadline = time.monotonic() + 20
            while True:
                found = self.found()
                others = {key: it for key, it in found.items() if it["check"] not in (fault.check, *fault.also)}
                if f"{fault.check} {subject}" in found and not others:
                    break
                assert time.monotonic() < deadline, (fault.check, subject, found)
                time.sleep(0.5)
            if fault.fix:
                done = self.examine(fix=True)["fixed"]
                assert fault.check in [it["check"] for it in done]
                assert [it["error"] for it in done] == [""] * len(done), done
        finally:
            self.sh(fault.mend)
        self.quiet()
        print(f"{fault.check} {subject}: named and mended", flush=True)


def certificate(name: str = STREAM_HOST, before: float = -9, after: float = 9) -> tuple[str, str]:
    """A certificate that nobody has signed but itself, and its key; ``before`` and ``after`` are days from now."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(before))
        .not_valid_after(now + timedelta(after))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def written(path: str, text: str) -> str:
    """A script that puts ``text`` into a file that is there, which keeps its owner and mode."""
    return f"echo {base64.b64encode(text.encode()).decode()} | base64 -d >{path}\n"


def kept(path: str) -> tuple[str, str]:
    """Scripts that put a file aside, and back."""
    return f"cp -a {path} {path}.kept\n", f"mv {path}.kept {path}\n"


def certificates() -> list[Fault]:
    """Faults of the streams' certificate."""
    chain, key = f"{TLS}/fullchain.pem", f"{TLS}/privkey.pem"
    (keep, back), (keep_key, back_key) = kept(chain), kept(key)
    whole = {
        "expired": certificate(before=-20, after=-2),
        "future": certificate(before=2, after=20),
        "name": certificate("other.example.net"),
        "authority": certificate(),
    }
    faults = [
        Fault(
            f"certificates.{word}",
            STREAM_HOST,
            keep + keep_key + written(chain, pem) + written(key, private),
            back + back_key,
        )
        for word, (pem, private) in whole.items()
    ]
    return [
        *faults,
        Fault("certificates.key", STREAM_HOST, keep_key + written(key, certificate()[1]), back_key),
        Fault("certificates.broken", STREAM_HOST, keep + written(chain, "-----BEGIN CERTIFICATE-----\nx\n"), back),
        Fault("certificates.missing", STREAM_HOST, f"mv {chain} {chain}.kept\n", back),
        Fault("certificates.rights", STREAM_HOST, f"chmod 0600 {key}\n", f"chmod 0640 {key}\n", fix=True),
    ]


def disks() -> list[Fault]:
    """Full in each way. What is filled is made for it."""

    def small(options: str) -> str:
        return f"mkdir -p {MEDIA}/seeded\nmount -t tmpfs -o {options} seeded {MEDIA}/seeded\n"

    gone, place = f"umount {MEDIA}/seeded\nrmdir {MEDIA}/seeded\n", f"{MEDIA}/seeded"
    hls = "/run/streamfleet/hls"
    return [
        Fault(
            "disk.full", place, small("size=2m") + f"dd if=/dev/zero of={place}/x bs=64k 2>/dev/null || true\n", gone
        ),
        Fault(
            "disk.inodes",
            place,
            small("size=8m,nr_inodes=40") + f"for n in $(seq 60); do touch {place}/$n 2>/dev/null || break; done\n",
            gone,
        ),
        Fault("disk.read_only", place, small("size=2m,ro"), gone),
        Fault("disk.nearly", place, small("size=1000m") + f"fallocate -l 910M {place}/x\n", gone),
        Fault(
            "disk.full",
            hls,
            f"stat -fc '%b*%S' {hls} >/root/hls-size\nmount -o remount,size=2m {hls}\ndd if=/dev/zero of={hls}/x "
            "bs=64k 2>/dev/null || true\n",
            f"rm {hls}/x\nmount -o remount,size=$(( $(cat /root/hls-size) )) {hls}\nrm /root/hls-size\n",
        ),
        Fault(
            "disk.hls", hls, f"umount -l {hls}\n", "systemctl is-active --quiet run-streamfleet-hls.mount\n", fix=True
        ),
    ]


def databases() -> list[Fault]:
    """Of the panel's SQLite."""
    stop, start = f"systemctl stop {PANEL_UNITS}\n", f"systemctl start {PANEL_UNITS}\n"
    held = (
        "import sqlite3, time; link = sqlite3.connect('" + DATABASE + "', isolation_level=None, timeout=30); "
        "link.execute('BEGIN IMMEDIATE'); open('/tmp/held', 'w').close(); time.sleep(600)"
    )
    return [
        Fault(
            "database.missing",
            DATABASE,
            stop + f"mv {DATABASE} {DATABASE}.kept\n",
            f"mv {DATABASE}.kept {DATABASE}\n" + start,
            ("units.off",),
        ),
        Fault(
            "database.corrupt",
            DATABASE,
            stop
            + f"cp -a {DATABASE} {DATABASE}.kept\n"
            + f"dd if=/dev/urandom of={DATABASE} bs=4096 seek=1 count=20 conv=notrunc 2>/dev/null\n",
            f"rm -f {DATABASE}-wal {DATABASE}-shm\nmv {DATABASE}.kept {DATABASE}\n" + start,
            ("units.off",),
        ),
        Fault(
            "database.locked",
            DATABASE,
            f'systemd-run --quiet --unit=seeded-lock --uid=streamfleet-panel python3 -c "{held}"\n'
            "for n in $(seq 50); do test -e /tmp/held && break; sleep 0.2; done\n",
            "systemctl stop seeded-lock.service || true\nrm -f /tmp/held\n",
        ),
        Fault(
            "database.rights",
            DATABASE,
            f"chown root:root {DATABASE}\nchmod 0400 {DATABASE}\n",
            f"stat -c %U {DATABASE} | grep -q panel\n",
            fix=True,
        ),
    ]


def names() -> list[Fault]:
    """Of the streams' name, as the node resolves it."""
    keep, back = "cp /etc/hosts /root/hosts\n", "cat /root/hosts >/etc/hosts\n"
    # The name alone: others may stand in the same line.
    away = keep + f"sed 's/[[:space:]]{STREAM_HOST}//' /root/hosts >/etc/hosts\n"
    return [
        Fault("names.elsewhere", STREAM_HOST, away + f"echo 10.255.255.9 {STREAM_HOST} >>/etc/hosts\n", back),
        Fault(
            "names.servers",
            STREAM_HOST,
            away + "cat /etc/resolv.conf >/root/resolv\necho nameserver 127.0.0.9 >/etc/resolv.conf\n",
            back + "cat /root/resolv >/etc/resolv.conf\n",
        ),
        Fault(
            "names.none",
            STREAM_HOST,
            away + "cp -a /etc/nsswitch.conf /root/nsswitch\nsed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf\n",
            back + "cp -a /root/nsswitch /etc/nsswitch.conf\n",
        ),
    ]


def instances(ward: Ward) -> list[Fault]:
    """Of the station's own unit."""
    unit, xml = ward.unit, f"/etc/streamfleet/instances/icecast/{ward.slug}/icecast.xml"
    again = f"systemctl reset-failed {unit} || true\nsystemctl restart {unit}\n"
    drop = f"/run/systemd/system/{unit}.d"

    def otherwise(command: str) -> str:
        text = f"[Service]\nType=simple\nExecStart=\nExecStart={command}\n"
        return (
            f"mkdir -p {drop}\n"
            + f": >{drop}/seeded.conf\n"
            + written(f"{drop}/seeded.conf", text)
            + f"systemctl daemon-reload\nsystemctl restart {unit} || true\n"
        )

    gone = f"rm -r {drop}\nsystemctl daemon-reload\n" + again
    deaf = f"import socket, time; door = socket.create_server(('', {ward.port})); time.sleep(600)"
    keep, back = kept(xml)
    return [
        Fault("units.off", unit, f"systemctl stop {unit}\n", f"systemctl is-active --quiet {unit}\n", fix=True),
        Fault(
            "units.masked",
            unit,
            f"systemctl stop {unit}\nsystemctl mask --runtime --quiet {unit}\n",
            f"systemctl unmask --runtime --quiet {unit}\nsystemctl start {unit}\n",
        ),
        Fault(
            "units.failed",
            unit,
            keep + written(xml, "<icecast><limits>") + f"systemctl restart {unit} || true\n",
            back + again,
        ),
        Fault("units.start", unit, otherwise("/usr/bin/nothing-of-this-name"), gone),
        Fault("units.killed", unit, otherwise('/usr/bin/python3 -c "import os; os.kill(os.getpid(), 9)"'), gone),
        Fault("engines.hung", unit, otherwise(f'/usr/bin/python3 -c "{deaf}"'), gone),
        Fault(
            "ports.taken",
            unit,
            f"systemctl stop {unit}\nsystemd-run --quiet --unit=seeded-port python3 -m http.server --bind :: "
            f"{ward.port}\nsleep 1\nsystemctl start {unit} || true\n",
            "systemctl stop seeded-port.service\n" + again,
        ),
        Fault(
            "processes.stopped",
            unit,
            f"systemctl kill --signal=STOP {unit}\n",
            f"systemctl kill --signal=CONT {unit}\n",
            fix=True,
        ),
    ]


def hosts() -> list[Fault]:
    """Of the host and what all share."""
    lock = (
        "import fcntl, json, os, time; file = open('/run/streamfleet/converge.lock', 'w'); fcntl.flock(file, "
        "fcntl.LOCK_EX); "
        "json.dump(dict(who='seeded', pid=os.getpid(), since='2026-01-01T00:00:00Z'), file); file.flush(); "
        "time.sleep(600)"
    )
    sudo, keys = "/etc/sudoers.d/streamfleet-converge", "/var/lib/streamfleet-converge/.ssh/authorized_keys"
    state, token = "/var/lib/streamfleet/node/state.json", "/etc/streamfleet/worker/token"
    worker, settings = "/etc/systemd/system/streamfleet-worker.service", "/etc/streamfleet/panel/panel.env"
    keep_state, back_state = kept(state)
    keep_token, back_token = kept(token)
    strange = (
        "nft add table inet seeded\nnft add chain inet seeded input '{ type filter hook input priority 50; policy "
        "drop; }'\n"
        "nft add rule inet seeded input ct state established,related accept\nnft add rule inet seeded input iif lo "
        "accept\n"
        "nft add rule inet seeded input tcp dport '{ 22, 80 }' accept\n"
    )
    return [
        Fault(
            "units.off", "streamfleet-worker.service", "systemctl stop streamfleet-worker.service\n", "true\n", fix=True
        ),
        Fault(
            "units.boot",
            "streamfleet-instances.target",
            "systemctl disable --quiet streamfleet-instances.target\n",
            "systemctl is-enabled --quiet streamfleet-instances.target\n",
            fix=True,
        ),
        Fault(
            "web.configuration",
            "nginx.service",
            "echo 'nonsense on;' >/etc/nginx/conf.d/seeded.conf\n",
            "rm /etc/nginx/conf.d/seeded.conf\n",
        ),
        Fault(
            "ports.taken",
            "nginx.service",
            "systemctl stop nginx.service\nsystemd-run --quiet --unit=seeded-port python3 -m http.server --bind :: "
            "443\nsleep 1\nsystemctl start nginx.service || true\n",
            "systemctl stop seeded-port.service\nsystemctl reset-failed nginx.service || true\nsystemctl restart "
            "nginx.service\n",
        ),
        Fault(
            "processes.stopped",
            "streamfleet-panel.service",
            "systemctl kill --signal=STOP streamfleet-panel.service\n",
            "systemctl kill --signal=CONT streamfleet-panel.service\n",
            fix=True,
        ),
        Fault(
            "processes.stopped",
            "streamfleet-rtmp.service",
            "systemctl kill --signal=STOP streamfleet-rtmp.service\n",
            "systemctl kill --signal=CONT streamfleet-rtmp.service\n",
            fix=True,
        ),
        Fault(
            "panel.socket",
            "/run/streamfleet-panel/panel.sock",
            "rm /run/streamfleet-panel/panel.sock\n",
            "test -S /run/streamfleet-panel/panel.sock\n",
            fix=True,
        ),
        Fault(
            "web.stale",
            "nginx.service",
            "sleep 1\ntouch /etc/nginx/conf.d/streamfleet.conf\n",
            "nginx -t 2>/dev/null\n",
            fix=True,
        ),
        Fault(
            "units.missing",
            "streamfleet-worker.service",
            f"systemctl stop streamfleet-worker.service\nmv {worker} /root/worker\nsystemctl daemon-reload\n",
            f"mv /root/worker {worker}\nsystemctl daemon-reload\nsystemctl start streamfleet-worker.service\n",
        ),
        Fault(
            "database.settings",
            settings,
            f"cp -a {settings} {settings}.kept\nsed -i /DATABASE_URL/d {settings}\n",
            f"mv {settings}.kept {settings}\n",
        ),
        Fault("panel.worker", token, keep_token + f"echo sft_wrong >{token}\n", back_token),
        Fault("rights.closed", "/etc/streamfleet/routes", "chmod 0700 /etc/streamfleet/routes\n", "true\n", fix=True),
        Fault(
            "rights.missing",
            "/etc/streamfleet/domains",
            "mv /etc/streamfleet/domains /root/domains\n",
            "rm -r /etc/streamfleet/domains\nmv /root/domains /etc/streamfleet/domains\n",
            fix=True,
        ),
        Fault("rights.sudo", sudo, f"mv {sudo} /root/sudo\n", f"mv /root/sudo {sudo}\n"),
        Fault("rights.keys", keys, f"mv {keys} /root/keys\n", f"mv /root/keys {keys}\n"),
        Fault(
            "firewall.tenants",
            "streamfleet_tenants",
            "nft delete table inet streamfleet_tenants\n",
            "nft list table inet streamfleet_tenants >/dev/null\n",
            fix=True,
        ),
        Fault("firewall.foreign", "inet seeded", strange, "nft delete table inet seeded\n"),
        Fault(
            "converge.killed",
            "converge",
            "echo '{}' >/var/lib/streamfleet/node/journal.json\n",
            "rm /var/lib/streamfleet/node/journal.json\n",
        ),
        Fault("converge.state", state, keep_state + written(state, "{"), back_state),
        Fault(
            "converge.hung",
            "converge",
            f'systemd-run --quiet --unit=seeded-converge python3 -c "{lock}"\nsleep 1\n',
            "systemctl stop seeded-converge.service\n: >/run/streamfleet/converge.lock\n",
        ),
    ]


def held_update() -> Fault:
    """A newer Icecast in a security archive, and Icecast held back."""
    conf, archive = "/etc/apt/apt.conf.d/99seeded", "/etc/apt/sources.list.d/seeded.list"
    release, package = (
        "Suite: seeded-security\\nComponents: main\\n",
        "Package: icecast2\\nMaintainer: x\\nFilename: x\\n",
    )
    alone = f"-o Dir::Etc::sourcelist={archive} -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0"
    return Fault(
        "updates.held",
        "icecast2",
        "folder=/srv/seeded/dists/seeded-security\narch=$(dpkg --print-architecture)\n"
        "list=main/binary-$arch/Packages\nmkdir -p $folder/main/binary-$arch\n"
        "version=$(dpkg-query -W -f '${Version}' icecast2)+seeded1\n"
        f"printf '{package}Version: %s\\nArchitecture: %s\\nSize: 1\\nSHA256: %064d\\nDescription: x\\n' "
        "$version $arch 0 >$folder/$list\n"
        "sum=$(sha256sum <$folder/$list | cut -d' ' -f1)\n"
        f"printf '{release}Architectures: %s\\nDate: %s\\nSHA256:\\n %s %s %s\\n' "
        '$arch "$(date -Ru)" $sum $(stat -c %s $folder/$list) $list >$folder/Release\n'
        f"echo 'deb [trusted=yes] file:/srv/seeded seeded-security main' >{archive}\n"
        f"echo 'Unattended-Upgrade::Package-Blacklist {{ \"icecast2$\"; }};' >{conf}\n"
        f"apt-get -qq update {alone}\n",
        f"rm -rf /srv/seeded {archive} {conf} /var/lib/apt/lists/*seeded*\n",
    )


def transfers() -> list[Fault]:
    """Of FTP."""
    strange = (
        "nft add table inet seeded\nnft add chain inet seeded input '{ type filter hook input priority 50; policy "
        "drop; }'\n"
        "nft add rule inet seeded input ct state established,related accept\nnft add rule inet seeded input iif lo "
        "accept\n"
        "nft add rule inet seeded input tcp dport '{ 21, 22, 80, 443, 1935, 1936, 2022, 8100-9999 }' accept\n"
    )
    unit = "streamfleet-file-transfer.service"
    full = (
        "import resource, socket, time; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)); "
        "doors = [socket.create_server(('', port)) for port in range(20000, 20980)]; open('/tmp/held', "
        "'w').close(); time.sleep(600)"
    )
    return [
        Fault("file_transfer.passive", "20000-20999", strange, "nft delete table inet seeded\n"),
        Fault(
            "file_transfer.ports",
            "20000-20999",
            f'systemd-run --quiet --unit=seeded-ports python3 -c "{full}"\n'
            "for n in $(seq 50); do test -e /tmp/held && break; sleep 0.2; done\n",
            "systemctl stop seeded-ports.service\nrm -f /tmp/held\n",
        ),
        Fault(
            "processes.stopped",
            unit,
            f"systemctl kill --signal=STOP {unit}\n",
            f"systemctl kill --signal=CONT {unit}\n",
            fix=True,
        ),
    ]


@pytest.fixture(scope="module")
def ward(platform: Stage) -> Iterator[Ward]:
    """A station and a channel that run, and the doctor's program on their node."""
    name = f"t{secrets.token_hex(4)}"
    services = [
        station(name, f"{name}-fm"),
        {"slug": f"{name}-tv", "name": name, "customer": name, "engine": "nginx_rtmp"},
    ]
    apply(platform, {"customers": [account(name)], "media_services": services})
    running(platform, f"{name}-fm", f"{name}-tv")
    yield Ward(platform, f"{name}-fm", f"{name}-tv")
    apply(platform, {"customers": [{"username": name, "state": "absent"}]})
    platform.on_node(["rm", "-rf", PLACE])


def play(ward: Ward, *arguments: str, well: bool = True) -> str:
    """What self_check.yml says, in one line."""
    log = ward.stage.state / "self_check.log"
    before = len(log.read_text()) if log.is_file() else 0
    totals = ward.stage.playbook(
        "playbooks/self_check.yml", "-e", json.dumps(ward.stage.added), *arguments, check=False
    )
    said = " ".join(log.read_text()[before:].split())
    assert (totals.failed == 0) == well, said
    return said


def test_a_healthy_node_is_quiet_and_faults_are_named_and_mended(ward: Ward, tmp_path: Path) -> None:
    ward.quiet()
    ward.suffers(certificates()[0])
    ward.suffers(disks()[0])
    ward.suffers(instances(ward)[-1])
    report = tmp_path / "report.json"
    ward.sh("systemctl stop streamfleet-worker.service")
    said = play(ward, "-e", json.dumps({"self_check_fix": "yes", "self_check_report": str(report)}))
    assert (
        "fixed units.off: systemctl reset-failed streamfleet-worker.service; systemctl start "
        "streamfleet-worker.service" in said
    )
    told = json.loads(report.read_text())[NODE]
    assert [it["check"] for it in told["fixed"]] == ["units.off"]
    assert [it for it in told["findings"] if it["severity"] == "error"] == []


@pytest.mark.full
def test_thirty_and_more_faults_one_at_a_time(ward: Ward) -> None:
    ward.quiet()
    assert "clock.off clock" in ward.found(off=1000)
    faults = [*certificates(), *disks(), *instances(ward), *hosts(), *names(), *databases()]
    assert len(faults) >= 30
    failed = []
    for fault in faults:
        try:
            ward.suffers(fault)
        except (AssertionError, DemoError) as error:
            failed.append((fault.check, fault.subject, str(error)[:1500]))
            print(f"not as it should be: {failed[-1]}", flush=True)
    assert not failed, failed


@pytest.mark.full
def test_faults_of_file_transfers(ward: Ward, tmp_path: Path) -> None:
    for entry in ("main", "uninstall"):
        (tmp_path / f"{entry}.yml").write_text(FTP.format(name=entry.capitalize(), entry=entry))
    ward.stage.playbook(str(tmp_path / "main.yml"))
    ward.passive = True
    try:
        ward.quiet()
        for fault in transfers():
            ward.suffers(fault)
    finally:
        ward.passive = False
        ward.stage.playbook(str(tmp_path / "uninstall.yml"))


@pytest.mark.full
def test_a_security_update_that_is_held_back_is_told_and_keeps_nothing_from_its_work(ward: Ward) -> None:
    fault = held_update()
    ward.quiet()
    ward.suffers(fault)
    try:
        ward.sh(fault.seed)
        said = play(ward)
    finally:
        ward.sh(fault.mend)
    assert "warning updates.held: icecast2 has a security update that waits for somebody" in said
    assert "apt-get install --only-upgrade icecast2, then systemctl restart" in said


@pytest.mark.full
def test_the_playbook_names_three_faults_at_once_and_changes_nothing(ward: Ward, tmp_path: Path) -> None:
    faults = [certificates()[0], next(it for it in hosts() if it.check == "rights.sudo"), disks()[0]]
    report = tmp_path / "report.json"
    with contextlib.ExitStack() as mending:
        for fault in faults:
            mending.callback(ward.sh, fault.mend)
            ward.sh(fault.seed)
        said = play(ward, "-e", json.dumps({"self_check_report": str(report)}), well=False)
    told = json.loads(report.read_text())[NODE]
    assert told["fixed"] == []
    errors = {it["check"] for it in told["findings"] if it["severity"] == "error"}
    assert errors == {fault.check for fault in faults}
    assert "error certificates.expired: The certificate of stream.demo.localhost has expired." in said
    ward.quiet()


@pytest.mark.full
def test_encoders_that_are_refused_are_told_with_the_reason(ward: Ward) -> None:
    def told() -> set[tuple[str, str]]:
        return {(it["check"], it["subject"]) for it in ward.examine()["findings"] if it["severity"] == "warning"}

    assert not try_to_publish(ward.stage, "never-was-a-key")
    wrong = Source(ward.address, ward.port, "/stream", "wrong")
    wrong.start()
    wrong.join(20)
    with on_air(Source(ward.address, ward.port, "/stream", ward.password)):
        second = Source(ward.address, ward.port, "/stream", ward.password)
        second.start()
        second.join(20)
    deadline, wanted = (
        time.monotonic() + 20,
        {("encoders.key", "a channel"), ("encoders.login", ward.slug), ("encoders.refused", ward.slug)},
    )
    while not wanted <= told():
        assert time.monotonic() < deadline, ward.examine()["findings"]
        time.sleep(1)
    assert credentials(ward.stage.api(), ward.channel)["stream_key"] not in json.dumps(ward.examine())
