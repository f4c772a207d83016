"""Secrets are in no file, command line or environment that others can read. Looked for by value, everywhere."""

from __future__ import annotations

from testinfra.host import Host

testinfra_hosts = ["all"]

SOURCES = {
    "streamfleet_panel": [
        "cat /etc/streamfleet/panel/install_token",
        "cat /etc/streamfleet/panel/admin_password",
        'sed -n "s/^[A-Z_]*=[\'\\"]\\?\\([^\'\\"]\\{20,\\}\\).*/\\1/p" /etc/streamfleet/panel/secrets.env',
        "cat /etc/streamfleet/worker/token",
        "sed -n 2p /etc/streamfleet/worker/id_ed25519",
        "grep -v -e - /etc/streamfleet/ca/ca.key | head -n 1",
    ],
    "nginx_rtmp": ["cat /etc/streamfleet/rtmp/secret"],
    "streamfleet_nodes": ["cat /etc/streamfleet/tls/*/privkey.pem | sed -n 2p"],
}
"""Group → commands that print secret values, one a line, when root runs them."""

PLACES = "/etc /opt /var /run /srv /home /root /tmp /usr/lib/streamfleet /usr/local"


def collect(host: Host, groups: list[str]) -> str:
    """Path of a file of patterns in the host's memory; root's alone. The caller removes it."""
    commands = [command for group in groups for command in SOURCES.get(group, [])]
    path = host.check_output("umask 077; mktemp /dev/shm/secrets.XXXXXXXX")
    for command in commands:
        host.check_output(f"{command} | grep -E '.{{12,}}' >> {path}")
    assert int(host.check_output(f"wc -l < {path}")) >= len(commands)
    return path


def test_other_users_find_no_secret_in_files(host: Host, groups: list[str]) -> None:
    patterns = collect(host, groups)
    search = f"runuser -u nobody -- grep -rIslF -f - {PLACES} < {patterns}"
    try:
        # The search itself works: what root can find in a file made for it, nobody finds once it may read that.
        host.check_output(f"head -n 1 {patterns} > /tmp/streamfleet-canary; chmod 0644 /tmp/streamfleet-canary")
        assert host.run(search).stdout.split() == ["/tmp/streamfleet-canary"]
    finally:
        host.check_output(f"rm -f {patterns} /tmp/streamfleet-canary")


def test_no_secret_is_on_a_command_line_or_in_an_environment_that_others_see(host: Host, groups: list[str]) -> None:
    patterns = collect(host, groups)
    try:
        read = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null"
        seen = host.run(f"runuser -u nobody -- sh -c '{read}' | grep -acF -f {patterns}")
        assert seen.stdout.strip() == "0"
    finally:
        host.check_output(f"rm -f {patterns}")


def test_no_secret_is_in_the_journal(host: Host, groups: list[str]) -> None:
    patterns = collect(host, groups)
    try:
        assert host.run(f"journalctl --no-pager -o cat | grep -cF -f {patterns}").stdout.strip() == "0"
    finally:
        host.check_output(f"rm -f {patterns}")


def test_private_files_are_closed_to_others(host: Host) -> None:
    names = ["*.key", "privkey*", "*token*", "*secret*", "*password*", "*.env", "id_*"]
    kinds = " -o ".join(f"-name '{name}'" for name in names)
    find = rf"find /etc/streamfleet /var/lib/streamfleet -type f \( {kinds} \) ! -name '*.pub' -perm /007 -print"
    opened = host.check_output(find)
    assert opened == ""
