"""Applies that arrive at once: uids, ports, generations and limits stay right. Real processes, one database."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.panel_server import Panel, running_panel


@pytest.fixture(scope="module")
def panel() -> Iterator[Panel]:
    # Another database for a trial: STREAMFLEET_TEST_DATABASE_URL=postgres://…
    with running_panel(workers=4, database_url=os.environ.get("STREAMFLEET_TEST_DATABASE_URL")) as started:
        yield started


def test_applies_at_once(panel: Panel) -> None:
    node = {
        "address": "192.0.2.10",
        "engines": ["icecast", "nginx_rtmp"],
        "port_range_start": 8100,
        "port_range_end": 8299,
    }
    assert panel.request("PUT", "/nodes/node1", node)[0] == 200
    plan = {
        "reseller_plans": [{"name": "small", "max_media_services": 30}],
        "customers": [{"username": "shop", "reseller_plan": "small"}],
    }
    assert panel.request("POST", "/apply", {"document": plan})[0] == 200

    def one(number: int) -> tuple[int, object]:
        names = [f"c{number}-{index}" for index in range(5)]
        document = {
            "customers": [{"username": name, "reseller": "shop", "password": "secret1"} for name in names],
            "media_services": [{"slug": name, "customer": name, "engine": "icecast"} for name in names],
        }
        return panel.request("POST", "/apply", {"document": document})

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(one, range(12)))
    done = [answer for status, answer in answers if status == 200]
    refused = [answer for status, answer in answers if status != 200]
    # 30 services fit: six documents of five, whichever came first. The others changed nothing.
    assert len(done) == 6, [status for status, _ in answers]
    assert all("max_media_services" in json.dumps(answer) for answer in refused)
    services = panel.request("GET", "/media-services?limit=1000")[1]
    customers = panel.request("GET", "/customers?limit=1000")[1]["items"]
    assert services["count"] == 30
    assert len({item["port"] for item in services["items"]}) == 30
    assert {item["port"] for item in services["items"]} == set(range(8100, 8130))
    uids = [item["uid"] for item in customers]
    assert len(set(uids)) == len(uids) == 32
    # Every document that was applied moved the node's document by exactly one.
    generations = sorted(answer["nodes"]["node1"] for answer in done)
    assert generations == list(range(generations[0], generations[0] + 6))
    assert panel.request("GET", "/nodes/node1")[1]["generation"] == generations[-1]
    by_generation = dict.fromkeys(generations, 0)
    for item in services["items"]:
        by_generation[item["generation"]] += 1
    assert set(by_generation.values()) == {5}


def test_the_same_document_at_once(panel: Panel) -> None:
    document = {"customers": [{"username": f"same{index}"} for index in range(20)]}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: panel.request("POST", "/apply", {"document": document}), range(8)))
    assert [status for status, _ in answers] == [200] * 8
    assert sorted(answer["summary"]["created"] for _, answer in answers) == [0] * 7 + [20]


def test_a_large_body_gets_its_answer(panel: Panel) -> None:
    """33 MiB are refused with an answer that arrives, not with a broken pipe."""
    status, answer = panel.request("POST", "/apply", {"document": "x" * (33 * 1024 * 1024)})
    assert (status, answer["error"]["code"]) == (413, "too_large")


def test_many_passwords(panel: Panel) -> None:
    document = {"customers": [{"username": f"job{index}", "password": f"secret-{index}"} for index in range(60)]}
    status, answer = panel.request("POST", "/apply", {"document": document})
    assert status == 202
    path = answer["job"]["url"].removeprefix("/api/v1")
    for _ in range(600):
        job = panel.request("GET", path)[1]
        if job["state"] not in ("pending", "running"):
            break
        time.sleep(0.1)
    assert job["state"] == "succeeded", job
    assert job["result"]["summary"]["created"] == 60
