"""The ledger's arithmetic in a real engine: what is lost where, what is only unknown, and whom no view may show."""

import uuid
from typing import Any

import pyarrow as pa
import pytest

from contracts.events import FeedbackEvent
from contracts.ledger import PROBE_PREFIX, AcknowledgementEntry, Ranges, Tally
from contracts.playlists import ServedPlaylist
from contracts.topics import FEEDBACK
from services.common.clickhouse import ChdbConnection
from services.common.process.clock import now_ms
from services.common.settings import ClickhouseSettings
from services.operator.ledger.entries import Ledger, read_ledger
from services.operator.readers.clickhouse import ClickhouseReader
from services.warehouse import rows, rows_of_ledger
from services.warehouse.rows import Place, Placed

pytestmark = pytest.mark.connected

TOPIC_ID = "a" * 32
NOT_OF_USERS = {
    "freshness", "marks_clean", "songs", "song_aliases", "anime_aliases", "live_models", "builds", "build_stages",
}  # fmt: skip


class Hour:
    """Events of one partition that were received a minute ago, and who says what of them."""

    def __init__(self, clickhouse: ChdbConnection, count: int) -> None:
        self.clickhouse = clickhouse
        self.at = now_ms() - 60_000
        self.events = [self._event(offset) for offset in range(count)]

    def _event(self, offset: int) -> Placed[FeedbackEvent]:
        event = FeedbackEvent.model_validate(
            {"event_id": uuid.uuid4(), "kind": "liked", "user_id": "ann", "song_id": "a", "occurred_at": self.at,
             "received_at": self.at}
        )  # fmt: skip
        return Place(TOPIC_ID, 0, offset, self.at), event

    def spans(self, *bounds: tuple[int, int]) -> Any:
        """Ranges over these bounds."""
        ranges = Ranges()
        for first, upto in bounds:
            digest = sum(event.event_id.int for _, event in self.events[first:upto])
            ranges.note(0, self.at, first, upto, records=upto - first, digest=digest)
        return tuple(ranges.take())

    def accounted(self, *bounds: tuple[int, int], writer: str = "gateway-1") -> None:
        """A gateway says that it was acknowledged these."""
        said = AcknowledgementEntry(
            kind="account", writer=writer, topic=FEEDBACK.name, topic_id=TOPIC_ID, said_at=self.at,
            spans=self.spans(*bounds),
        )  # fmt: skip
        self.clickhouse.insert("animusic.ledger_spans", rows_of_ledger.spans([(self.events[0][0], said)]))

    def counted(self, *bounds: tuple[int, int], folded: int) -> None:
        """The probe says that it read these, and how far the fold was."""
        said = Tally(
            kind="tally", writer="probe-1", topic=FEEDBACK.name, topic_id=TOPIC_ID, said_at=now_ms(),
            spans=self.spans(*bounds), folded={0: folded},
        )  # fmt: skip
        self.clickhouse.insert("animusic.ledger_spans", rows_of_ledger.spans([(self.events[0][0], said)]))
        self.clickhouse.insert("animusic.ledger_folded", rows_of_ledger.folded([(self.events[0][0], said)]))

    def kept(self, *offsets: int, mark: int) -> None:
        """ClickHouse has these rows, and has read to the mark."""
        self.clickhouse.insert("animusic.feedback", rows.feedback([self.events[offset] for offset in offsets]))
        marked = {"topic_id": [TOPIC_ID], "topic": [FEEDBACK.name]}
        numbers = {"partition": pa.array([0], pa.uint32()), "mark": pa.array([mark], pa.uint64())}
        self.clickhouse.insert("animusic.marks", pa.table({**marked, **numbers}))


async def counted(dsn: str) -> Ledger:
    """The ledger now."""
    warehouse = ClickhouseReader(ClickhouseSettings(dsn=dsn), 30)
    try:
        return await read_ledger(warehouse, 3)
    finally:
        await warehouse.aclose()


async def test_all_agree(clickhouse: ChdbConnection, dsn: str) -> None:
    hour = Hour(clickhouse, 100)
    hour.accounted((0, 40), (40, 70))
    hour.accounted((70, 100), writer="gateway-2")
    # Said again with a later end, after an answer that was lost.
    hour.accounted((70, 80), writer="gateway-2")
    hour.counted((0, 50), (50, 100), folded=100)
    hour.kept(*range(100), mark=100)
    hour.kept(*range(10), mark=100)
    found = await counted(dsn)
    total = found.total()
    assert (total.accepted, total.in_topic, total.in_clickhouse, total.used) == (100, 100, 100, 100)
    assert (total.lost, total.unaccounted, total.waiting, total.duplicates, found.doubled) == (0, 0, 0, 0, 0)
    assert (found.code, found.findings) == (0, [])


async def test_each_kind_of_loss_is_told_apart(clickhouse: ChdbConnection, dsn: str) -> None:
    hour = Hour(clickhouse, 100)
    hour.accounted((0, 90))
    # 80 to 90 were acknowledged, and when somebody read the topic they were not there any more.
    hour.counted((0, 80), (90, 95), folded=60)
    # 17 is missing; 90 to 95 nobody accounts for; what lies past the mark may still come.
    hour.kept(*(offset for offset in range(80) if offset != 17), *range(90, 95), mark=95)
    total = (found := await counted(dsn)).total()
    assert (total.accepted, total.in_topic, total.in_clickhouse, total.used) == (90, 85, 84, 60)
    assert (total.lost_in_clickhouse, total.lost_in_topic, total.unaccounted, total.waiting) == (1, 10, 5, 25)
    assert found.code == 1
    assert {finding.name for finding in found.findings} >= {"lost in ClickHouse", "lost in the topic", "unaccounted"}
    assert all(finding.remedy and finding.page for finding in found.findings)
    assert str(hour.events[17][1].event_id) in {one["missing_id"] for one in found.missing}


async def test_the_right_number_of_wrong_ids_is_noticed(clickhouse: ChdbConnection, dsn: str) -> None:
    hour, other = Hour(clickhouse, 20), Hour(clickhouse, 20)
    hour.accounted((0, 20))
    hour.events[7] = other.events[7]
    hour.counted((0, 20), folded=20)
    hour.kept(*range(20), mark=20)
    found = await counted(dsn)
    assert (found.total().lost_in_topic, found.total().lost_in_clickhouse, found.total().differs) == (0, 0, 1)
    assert found.code == 1


async def test_what_the_warehouse_has_not_read_yet_is_not_lost(clickhouse: ChdbConnection, dsn: str) -> None:
    hour = Hour(clickhouse, 30)
    hour.accounted((0, 30))
    hour.counted((0, 30), folded=30)
    hour.kept(*range(20), mark=20)
    total = (await counted(dsn)).total()
    assert (total.in_topic, total.in_clickhouse, total.lost) == (30, 20, 0)


def test_no_view_of_listeners_shows_the_probe(clickhouse: ChdbConnection) -> None:
    listed = clickhouse.query("SELECT name FROM system.tables WHERE database = 'animusic' AND engine = 'View'")
    views = [name for name in listed["name"].to_pylist() if not name.startswith("ledger") and name not in NOT_OF_USERS]
    assert {"feedback_clean", "playlists_clean", "slots", "listener_songs", "exposure_curve", "arm_engagement"} <= {
        *views
    }
    _heard(clickhouse, "ann")
    before = {view: _all_of(clickhouse, view) for view in views}
    assert all(before.values()), {view for view, shown in before.items() if not shown}
    _heard(clickhouse, f"{PROBE_PREFIX}listener")
    assert {view: _all_of(clickhouse, view) for view in views} == before


def _all_of(clickhouse: ChdbConnection, view: str) -> list[str]:
    return sorted(map(str, clickhouse.query(f"SELECT * FROM animusic.{view}").to_pylist()))


def _heard(clickhouse: ChdbConnection, user_id: str) -> None:
    """A playlist with one slot, which was watched and liked, and a veto of another anime."""
    playlist_id, at = uuid.uuid4(), now_ms() - 60_000
    slot = {"slot": 0, "song_id": "a", "anime_id": "x", "arm": "tfidf", "p_arm": 1, "p_song": 1, "score": 1}
    served = ServedPlaylist.model_validate(
        {"playlist_id": playlist_id, "revision": 0, "user_id": user_id, "served_at": at, "slots": [slot],
         "picks": ["tfidf"], "withdrawn": [], "reflects": {}, "profile_digest": "0" * 32, "fresh": True}
    )  # fmt: skip
    about = {"user_id": user_id, "song_id": "a", "occurred_at": at, "received_at": at, "attribution": "slot",
             "arm": "tfidf", "playlist_id": playlist_id, "revision": 0, "slot": 0}  # fmt: skip
    watched = {"watch_ms": 90_000, "duration_ms": 100_000, "play_id": uuid.uuid4(), "played_ms": 90_000}
    events = [
        FeedbackEvent.model_validate({**about, "event_id": uuid.uuid4(), "kind": kind, **more})
        for kind, more in (("shown", {}), ("progress", watched), ("liked", {}))
    ]
    veto = {"user_id": user_id, "anime_id": "y", "occurred_at": at, "received_at": at, "attribution": "none"}
    events.append(FeedbackEvent.model_validate({**veto, "event_id": uuid.uuid4(), "kind": "vetoed"}))
    offset = int(clickhouse.query("SELECT count() AS n FROM animusic.feedback")["n"][0].as_py())
    placed = [(Place(TOPIC_ID, 0, offset + number, at), event) for number, event in enumerate(events)]
    clickhouse.insert("animusic.feedback", rows.feedback(placed))
    clickhouse.insert("animusic.playlists", rows.playlists([(placed[0][0], served)]))
    clickhouse.insert("animusic.served_slots", rows.served_slots([(placed[0][0], served)]))
