"""Servers that keep backups, on a test node of their own: OpenSSH, rclone's REST server, OpenStack Swift's S3.

All are Debian's programs as they are, over TLS or SSH, with an account that is let into nothing else.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.stage import NODE
from tests.nodes.fleet import Fleet
from tests.nodes.spec import NodeSpec

KEEPER = "keeper1"
ACCOUNT = "keeper"
FOLDER = "/srv/backups"
SOURCE = Path(__file__).resolve().parents[2] / "roles/backup/files/streamfleet_backup"
PACKAGES = "openssl rclone restic memcached python3-swift python3-lxml"

#: An authority, and a certificate of it for the node's address.
CERTIFICATES = """
set -eu
install -d -m 755 /etc/keeper && cd /etc/keeper
key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
openssl req -x509 $key -subj "/CN=Backups of a test" -keyout ca.key -out ca.pem 2>/dev/null
openssl req $key -subj "/CN=$1" -keyout tls.key -out tls.csr 2>/dev/null
printf 'subjectAltName=IP:%s\n' "$1" >names
openssl x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out tls.pem 2>/dev/null
chmod 600 *.key
"""
#: The account may do nothing but SFTP, and sees nothing but its folder.
SFTP = """
set -eu
id keeper >/dev/null 2>&1 || useradd --system --shell /usr/sbin/nologin --home-dir / keeper
install -d -m 755 /srv/backups/sftp /etc/ssh/keys
install -d -o keeper -g keeper -m 700 /srv/backups/sftp/repository
printf '%s\n' "$1" >/etc/ssh/keys/keeper
printf 'Match User keeper
  AuthorizedKeysFile /etc/ssh/keys/%%u
  ChrootDirectory /srv/backups/sftp
  ForceCommand internal-sftp
  AllowTcpForwarding no
' >/etc/ssh/sshd_config.d/keeper.conf
systemctl reload ssh
"""
#: One server that adds only, and one for the operator, who prunes, over the same folder.
REST = """
set -eu
install -d -m 700 /srv/backups/rest
serve() {
  systemd-run --quiet --unit "$1" --property Restart=always rclone serve restic --addr ":$2" \
    --cert /etc/keeper/tls.pem --key /etc/keeper/tls.key --user keeper --pass "$3" --private-repos $4 /srv/backups/rest
}
serve keeper-rest 8444 "$1" --append-only
serve keeper-rest-operator 8445 "$2" ""
"""
S3 = """
set -eu
install -d /etc/swift /srv/backups/swift/d1 && cd /etc/swift
printf '[swift-hash]\nswift_hash_path_suffix = of-a-test\n' >swift.conf
RING='import sys; from swift.cli.ringbuilder import main; main(["swift-ring-builder", *sys.argv[1:]])'
server() {  # kind, port
  printf '[DEFAULT]\ndevices = /srv/backups/swift\nmount_check = false\nbind_ip = 127.0.0.1\nbind_port = %s
workers = 1\nuser = root\n[pipeline:main]\npipeline = %s-server
[app:%s-server]\nuse = egg:swift#%s\n' "$2" "$1" "$1" "$1" >"$1-server.conf"
  for step in "create 4 1 1" "add r1z1-127.0.0.1:$2/d1 1" rebalance; do
    python3 -c "$RING" "$1.builder" $step >/dev/null
  done
  start "$1"
}
start() {
  systemd-run --quiet --unit "keeper-s3-$1" --property Restart=always /usr/bin/python3 -c \
    'import sys; from swift.common.wsgi import run_wsgi; sys.exit(run_wsgi(sys.argv[1], sys.argv[2]))' \
    "/etc/swift/$1-server.conf" "$1-server"
}
server object 6200
server container 6201
server account 6202
printf '[DEFAULT]\nbind_port = 8446\nworkers = 1\nuser = root
cert_file = /etc/keeper/tls.pem\nkey_file = /etc/keeper/tls.key
[pipeline:main]\npipeline = catch_errors cache listing_formats s3api tempauth proxy-server
[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\nallow_account_management = true
[filter:catch_errors]\nuse = egg:swift#catch_errors
[filter:cache]\nuse = egg:swift#memcache\nmemcache_servers = 127.0.0.1:11211
[filter:listing_formats]\nuse = egg:swift#listing_formats
[filter:s3api]\nuse = egg:swift#s3api
[filter:tempauth]\nuse = egg:swift#tempauth\nuser_keeper_backup = %s .admin\n' "$1" >proxy-server.conf
start proxy
"""


@dataclass
class Keeper:
    """The node and its servers; ``address``: its own."""

    fleet: str
    address: str
    ca: str
    secret: str = field(default_factory=lambda: secrets.token_hex(12))
    operator: str = field(default_factory=lambda: secrets.token_hex(12))

    def sh(self, script: str, *arguments: str, timeout: float = 300) -> str:
        """What a script prints on the node. Raises NodesError where it fails."""
        command = ["sh", "-c", script, "sh", *arguments]
        return Fleet(self.fleet).exec(KEEPER, command, timeout=timeout).stdout.strip()

    def sftp(self, public_key: str, private_key: str) -> dict[str, Any]:
        """Variables of a host that is backed up by SFTP."""
        self.sh(SFTP, public_key)
        server = self.sh("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub")
        return {
            "streamfleet_backup_repository": f"sftp:{ACCOUNT}@{self.address}:/repository",
            "streamfleet_backup_ssh_key": private_key,
            "streamfleet_backup_ssh_known_hosts": f"{self.address} {server}",
        }

    def rest(self, name: str = NODE, operator: bool = False) -> dict[str, Any]:
        """Variables of a host that is backed up by REST and may add only; or of the operator, who prunes.

        ``name``: that of the repository, which is the folder ``FOLDER/rest/ACCOUNT/name`` of the node.
        """
        password, port = (self.operator, 8445) if operator else (self.secret, 8444)
        return {
            "streamfleet_backup_repository": f"rest:https://{ACCOUNT}:{password}@{self.address}:{port}/{ACCOUNT}/{name}/",
            "streamfleet_backup_ca": self.ca,
        }

    def s3(self) -> dict[str, Any]:
        """Variables of a host that is backed up into a bucket."""
        return {
            "streamfleet_backup_repository": f"s3:https://{self.address}:8446/backups/{NODE}",
            "streamfleet_backup_environment": {
                "AWS_ACCESS_KEY_ID": f"{ACCOUNT}:backup",
                "AWS_SECRET_ACCESS_KEY": self.secret,
            },
            "streamfleet_backup_ca": self.ca,
        }

    def cut(self, *ports: int) -> None:
        """Have nothing come through to these ports, and nothing from them, until ``mend``."""
        ruleset = "table inet keeper { chain i { type filter hook input priority -10; tcp dport { %s } drop; }; }"
        self.sh(f"nft '{ruleset % ', '.join(map(str, ports))}'")

    def mend(self) -> None:
        """End a cut, where there is one."""
        self.sh("nft delete table inet keeper 2>/dev/null || true")


def start(fleet: str) -> Keeper:
    """The node with REST and S3 servers, added to a fleet that runs where it has none yet. It goes with the fleet."""
    known = Fleet(fleet).up([NodeSpec(KEEPER, "bookworm")])
    made = Keeper(fleet, known.nodes[KEEPER].address, "")
    there = made.sh("cat /etc/keeper/made 2>/dev/null || true").split()
    if there:
        made.secret, made.operator = there
        made.ca = made.sh("cat /etc/keeper/ca.pem")
        return made
    apt = f"apt-get -q update >/dev/null && apt-get -q -y --no-install-recommends install {PACKAGES} >/dev/null"
    made.sh(f"export DEBIAN_FRONTEND=noninteractive; {apt}", timeout=600)
    made.sh(CERTIFICATES, made.address)
    made.ca = made.sh("cat /etc/keeper/ca.pem")
    made.sh(REST, made.secret, made.operator)
    made.sh(S3, made.secret)
    asked = "for i in $(seq 60); do curl -sk -o /dev/null https://127.0.0.1:$1/ && exit; sleep 0.5; done; exit 1"
    for port in (8444, 8445, 8446):
        made.sh(asked, str(port))
    made.sh('echo "$1 $2" >/etc/keeper/made', made.secret, made.operator)
    return made


#: Puts what it is given as JSON (path → content) into place.
PLACE = """
import json, pathlib, sys
for path, content in json.load(sys.stdin).items():
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_text(content)
"""
PROGRAM = "PYTHONPATH=/opt/backup PYTHONDONTWRITEBYTECODE=1 python3 -P -m streamfleet_backup"


def program(keeper: Keeper, host: str, variables: dict[str, Any], password: str, paths: list[str]) -> None:
    """Put the role's program onto the keeper: for an operator, and with the settings of a host of another name."""
    files = {f"/opt/backup/streamfleet_backup/{path.name}": path.read_text() for path in SOURCE.glob("*.py")}
    told = {"host": host, "parts": [{"role": "common", "paths": paths}], "database": None, "keep": {}, "prune": False}
    files["/etc/streamfleet/backup/settings.json"] = json.dumps(told | {"check_data": "", "upload_kbps": 0})
    words = {
        "RESTIC_REPOSITORY": variables["streamfleet_backup_repository"],
        "RESTIC_PASSWORD": password,
        "RESTIC_CACERT": "/etc/keeper/ca.pem",
    }
    files["/etc/streamfleet/backup/secrets.env"] = "".join(f"{name}='{value}'\n" for name, value in words.items())
    Fleet(keeper.fleet).exec(KEEPER, ["python3", "-c", PLACE], stdin=json.dumps(files))


def settings_changed(text: str, **changes: Any) -> str:
    """``settings.json`` of the host with other values."""
    return json.dumps(json.loads(text) | changes)
