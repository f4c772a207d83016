"""The web server of a host that the panel has gone from, and of the one that it has come to."""

from __future__ import annotations

import re

from tests.unit.test_web_former_names import rendered

THERE = {"address": "192.0.2.9", "http_port": 80, "https_port": 8443, "ca": "/etc/streamfleet/ca/ca.pem"}


def blocks(text: str) -> list[str]:
    """What is said wherever something is passed on to the panel."""
    return re.findall(r"proxy_pass https?://streamfleet_panel.*?client_body_timeout", text, re.DOTALL)


def test_what_comes_for_the_panel_is_passed_on_to_a_host_that_is_verified() -> None:
    text = rendered(streamfleet_web_panel_elsewhere=THERE)
    assert "server 192.0.2.9:8443 fail_timeout=0;" in text
    assert "panel.sock" not in text
    # By its name, a former one, from a page of before, and by a reseller's.
    assert len(blocks(text)) == 4
    for block in blocks(text):
        assert block.startswith("proxy_pass https://")
        for line in (
            "proxy_ssl_verify on;",
            "proxy_ssl_name panel.new.test;",
            "proxy_ssl_server_name on;",
            "proxy_ssl_trusted_certificate /etc/streamfleet/ca/ca.pem;",
            "proxy_set_header Host $http_host;",
            "proxy_set_header X-Forwarded-For $remote_addr;",
        ):
            assert line in block, line
    assert "set_real_ip_from" not in text


def test_challenges_that_are_not_here_are_asked_for_there() -> None:
    text = rendered(streamfleet_web_panel_elsewhere={**THERE, "address": "2001:db8::9"})
    assert text.count("try_files $uri @streamfleet_challenge_elsewhere;") == text.count("location ^~ /.well-known/acme")
    assert "proxy_pass http://[2001:db8::9]:80;" in text
    assert "server [2001:db8::9]:8443 fail_timeout=0;" in text
    assert "@streamfleet_challenge_elsewhere" not in rendered()


def test_only_the_former_host_is_believed_who_asks() -> None:
    text = rendered(streamfleet_web_panel_passed_on_by=["192.0.2.7"])
    assert set(re.findall(r"set_real_ip_from (\S+);", text)) == {"192.0.2.7"}
    assert text.count("set_real_ip_from") == text.count("real_ip_header X-Forwarded-For;") == len(blocks(text)) == 4
    assert "real_ip" not in rendered()
