"""The ledger of a whole system: the probe counts and listens, the command says that nothing is lost."""

import json

import httpx
import psutil
import pytest

from services.operator.ledger.listener import USER
from tests.support.system import Listener, of_slot
from tests.support.waiting import poll

pytestmark = pytest.mark.system

# pydantic, aiokafka, redis and httpx alone are 68 MB.
_PROBE_MB = 100


def test_the_probe_counts_listens_and_is_no_listener(another) -> None:
    quick = {"ANIMUSIC_PROBE__EVERY_SECONDS": "1", "ANIMUSIC_PROBE__COUNT_EVERY_SECONDS": "1"}
    with another(ANIMUSIC_PROBE__ENABLED="true", ANIMUSIC_GATEWAY__ACCOUNT_SECONDS="1", **quick) as system:
        guest = Listener(system.url)
        like = of_slot("liked", guest.playlist()["slots"][0])
        guest.send(like)
        # A client that did not hear the answer.
        guest.send(like)

        def counted() -> dict:
            said = json.loads(system.command("ledger", "--json").stdout or "{}")
            total = {name: sum(line[name] for line in said.get("lines", ())) for name in ("accepted", "in_topic")}
            return said if total["accepted"] and said["freshness"] and total["in_topic"] >= total["accepted"] else {}

        said = poll(counted, timeout=60, interval=1, what="the ledger has an account and a count")
        lines = said["lines"]
        assert said["ok"], said
        assert sum(line["lost_in_topic"] + line["lost_in_clickhouse"] + line["differs"] for line in lines) == 0
        assert (sum(line["duplicates"] for line in lines), said["doubled"]) == (1, 0)
        fresh = said["freshness"]
        assert all(fresh[f"{leg}_p50"] is not None for leg in ("accepted", "profile", "playlist", "warehouse")), fresh
        shown = system.command("sql", "SELECT DISTINCT user_id FROM animusic.feedback_clean").stdout
        assert guest.user_id in shown
        assert USER not in shown
        page = system.command("ledger")
        assert page.returncode == 0, page.stdout + page.stderr
        assert "nothing is lost" in page.stdout
        metrics = httpx.get(f"{system.part('probe')['address']}/metrics").text
        assert 'animusic_probe_rounds_total{outcome="ok"}' in metrics
        assert 'animusic_ledger_events{kind="accepted"}' in metrics
        assert psutil.Process(system.part("probe")["pid"]).memory_info().rss < _PROBE_MB * 2**20
        guest.close()
