"""Files lie where docs/contracts.md says, and belong to whom it says."""

from __future__ import annotations

import pytest
from testinfra.host import Host

testinfra_hosts = ["all"]

# group, path, type, owner, group, mode (octal)
FILES = [
    ("all", "/etc/streamfleet", "directory", "root", "root", 0o755),
    ("all", "/etc/streamfleet/ca", "directory", "root", "root", 0o755),
    ("all", "/etc/streamfleet/ca/ca.pem", "regular file", "root", "root", 0o644),
    ("all", "/etc/streamfleet/tls", "directory", "root", "www-data", 0o750),
    ("all", "/etc/streamfleet/routes", "directory", "root", "www-data", 0o750),
    ("all", "/etc/streamfleet/domains", "directory", "root", "www-data", 0o750),
    ("all", "/etc/streamfleet/instances", "directory", "root", "root", 0o755),
    ("all", "/var/lib/streamfleet/node", "directory", "root", "root", 0o700),
    ("all", "/var/lib/streamfleet/services", "directory", "root", "root", 0o755),
    ("streamfleet_panel", "/etc/streamfleet/ca/ca.key", "regular file", "root", "root", 0o600),
    ("streamfleet_panel", "/opt/streamfleet/current", "symbolic link", "root", "root", 0o777),
    ("streamfleet_panel", "/opt/streamfleet/venv", "symbolic link", "root", "root", 0o777),
    ("streamfleet_panel", "/etc/streamfleet/panel/panel.env", "regular file", "root", "root", 0o600),
    ("streamfleet_panel", "/etc/streamfleet/panel/secrets.env", "regular file", "root", "root", 0o600),
    ("streamfleet_panel", "/etc/streamfleet/panel/admin_password", "regular file", "root", "root", 0o600),
    ("streamfleet_panel", "/etc/streamfleet/panel/install_token", "regular file", "root", "root", 0o600),
    ("streamfleet_panel", "/var/lib/streamfleet/panel", "directory", "streamfleet-panel", "streamfleet-panel", 0o2770),
    ("nginx_rtmp", "/etc/streamfleet/publish-keys", "directory", "root", "streamfleet-rtmp", 0o750),
    ("nginx_rtmp", "/run/streamfleet/hls", "directory", "streamfleet-rtmp", "www-data", 0o2750),
]


@pytest.mark.parametrize("expected", FILES, ids=lambda expected: f"{expected[0]}:{expected[1]}")
def test_owner_and_mode(host: Host, groups: list[str], expected: tuple[str, str, str, str, str, int]) -> None:
    where, path, kind, owner, group, mode = expected
    if where not in ("all", *groups):
        pytest.skip("not on this host")
    assert host.check_output("stat -c '%%F,%%U,%%G,%%a' %s", path) == f"{kind},{owner},{group},{mode:o}", path


def test_authority_key_is_on_the_panels_host_only(host: Host, groups: list[str]) -> None:
    assert host.file("/etc/streamfleet/ca/ca.key").exists == ("streamfleet_panel" in groups)


def test_certificates_are_for_this_hosts_names_and_readable_by_the_web_server(host: Host, groups: list[str]) -> None:
    variables = host.ansible.get_variables()
    names = [variables["streamfleet_panel_host"]] if "streamfleet_panel" in groups else []
    names += [variables["streamfleet_stream_host"]] if "streamfleet_nodes" in groups else []
    for name in names:
        directory = f"/etc/streamfleet/tls/{name}"
        for path, mode in ((directory, 0o750), (f"{directory}/privkey.pem", 0o640)):
            file = host.file(path)
            assert (file.user, file.group, oct(file.mode)) == ("root", "www-data", oct(mode)), path
        check = "openssl verify -CAfile /etc/streamfleet/ca/ca.pem -verify_hostname %s %s/fullchain.pem"
        assert host.run(check, name, directory).rc == 0, host.run(check, name, directory).stderr


def test_worker_keeps_its_key_and_token_to_itself(host: Host, groups: list[str]) -> None:
    if "streamfleet_panel" not in groups:
        pytest.skip("no worker on this host")
    for name in ("id_ed25519", "token", "worker.env"):
        file = host.file(f"/etc/streamfleet/worker/{name}")
        assert file.exists, name
        assert file.user in ("streamfleet-worker", "root"), name
        assert file.mode & 0o037 == 0, f"{name} has mode {file.mode:o}"
        assert host.run("runuser -u streamfleet-panel -- cat /etc/streamfleet/worker/%s", name).rc != 0, name
