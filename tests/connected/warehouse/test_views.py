"""The views on a small history whose answers were worked out by hand, clean and with duplicates of everything."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any
from uuid import UUID

import pytest

from contracts.arms import ARM_OF_CODE
from contracts.catalogue import Anime, Appearance, Link, Song, WithdrawnSong
from contracts.events import FeedbackEvent
from contracts.fold import fold
from contracts.models import LiveModel
from contracts.playlists import ServedPlaylist, ServedSlot
from contracts.profiles import Forgotten
from contracts.registers import FIRST_EXPOSURE, LIKED, SERVED_IDENTITY, SERVED_SLICES, VETO, WATCHED
from services.common.clickhouse import ChdbConnection
from services.warehouse import rows
from services.warehouse.rows import Place, Placed
from tests.support.histories import histories

pytestmark = pytest.mark.connected

T0 = 1_700_000_000_000
TOPIC = "e" * 32
PLAYLIST = {"ann": UUID(int=1), "bob": UUID(int=2), "eve": UUID(int=3)}


class Story:
    """Events and playlists, one after the other."""

    def __init__(self) -> None:
        self.events: list[Placed[FeedbackEvent]] = []
        self.playlists: list[Placed[ServedPlaylist]] = []

    def served(self, user: str, songs: str, arms: Sequence[str], *, kept: int = 0, withdrawn: str = "") -> None:
        """A playlist revision: a letter a song; the first `kept` slots were there already."""
        revision = sum(playlist.user_id == user for _, playlist in self.playlists)
        slots = [
            ServedSlot(
                slot=i, song_id=song, anime_id=f"mal-{song}", arm=arm, p_arm=0.25, p_song=0.5, score=1, kept=i < kept
            )
            for i, (song, arm) in enumerate(zip(songs, arms, strict=True))
        ]  # fmt: skip
        playlist = ServedPlaylist.model_validate(
            {
                "schema": 1, "playlist_id": PLAYLIST[user], "revision": revision, "user_id": user,
                "served_at": T0 + revision, "slots": slots, "picks": arms, "withdrawn": list(withdrawn), "reflects": {},
                "profile_digest": "0" * 32, "fresh": True,
            }
        )  # fmt: skip
        self.playlists.append((Place(TOPIC, 1, len(self.playlists), T0), playlist))

    def happened(self, user: str, kind: str, song: str, arm: str = "", slot: int = 0, **more: Any) -> None:
        """An event: of a slot when there is an arm and the user was served, claimed when only the arm is given."""
        number = len(self.events)
        attribution = "none" if not arm else "slot" if user in PLAYLIST else "claimed"
        told: dict[str, Any] = {
            "event_id": UUID(int=1000 + number), "kind": kind, "user_id": user, "song_id": song or None,
            "occurred_at": T0 + 10 * number, "received_at": T0 + 10 * number + 5, "attribution": attribution, **more,
        }  # fmt: skip
        if arm:
            told["arm"] = arm
        if attribution == "slot":
            told |= {"playlist_id": PLAYLIST[user], "revision": 0, "slot": slot, "p_arm": 0.25, "p_song": 0.5}
        self.events.append((Place(TOPIC, 0, number, T0), FeedbackEvent.model_validate(told)))

    def watched(self, user: str, song: str, arm: str = "", slot: int = 0, *, of_100: int) -> None:
        """Progress of so many of 100 s."""
        self.happened(user, "progress", song, arm, slot, watch_ms=of_100 * 1_000, duration_ms=100_000)


@pytest.fixture
def story() -> Story:
    """Ann and Bob hear playlists, Cas uses the paper's client, Eve is forgotten.

    tfidf, by first exposure: Ann a (80 % watched, liked), c (40 %), then e, which she was shown and never watched; Bob
    b (100 %, liked and un-liked), d (20 %, liked).  random: Ann b (60 %).  Claimed: Cas popular a (50 %, liked).
    """
    told = Story()
    told.served("ann", "abcd", ["tfidf", "random", "tfidf", "popular"])
    told.served("ann", "abce", ["tfidf", "random", "tfidf", "tfidf"], kept=3, withdrawn="d")
    told.served("bob", "bd", ["tfidf", "tfidf"])
    told.served("eve", "a", ["tfidf"])
    for slot, song in enumerate("abce"):
        told.happened("ann", "shown", song, ["tfidf", "random", "tfidf", "tfidf"][slot], slot)
    told.happened("ann", "started", "a", "tfidf", 0)
    told.watched("ann", "a", "tfidf", 0, of_100=80)
    told.watched("ann", "a", "tfidf", 0, of_100=30)
    told.happened("ann", "liked", "a", "tfidf", 0)
    told.watched("ann", "b", "random", 1, of_100=60)
    told.watched("ann", "c", "tfidf", 2, of_100=40)
    # Nobody vouches for these: no curve may move.
    told.watched("ann", "c", of_100=100)
    told.happened("ann", "liked", "c")
    told.watched("ann", "z", of_100=100)
    # An arm that brings a song second does not have it: b stays tfidf's for Bob.
    told.watched("bob", "b", "tfidf", 0, of_100=100)
    told.watched("bob", "b", "random", 1, of_100=10)
    told.happened("bob", "liked", "b", "tfidf", 0)
    told.happened("bob", "unliked", "b", "tfidf", 0)
    told.happened("bob", "skipped", "d", "tfidf", 1, direction="next", watch_ms=20_000, duration_ms=100_000)
    told.happened("bob", "liked", "d", "tfidf", 1)
    told.happened("cas", "liked", "a", "popular", watch_ms=50_000, duration_ms=100_000)
    told.watched("eve", "a", "tfidf", 0, of_100=100)
    told.happened("eve", "vetoed", "", anime_id="mal-a")
    return told


def _insert(clickhouse: ChdbConnection, story: Story) -> None:
    clickhouse.insert("animusic.feedback", rows.feedback(story.events))
    clickhouse.insert("animusic.playlists", rows.playlists(story.playlists))
    clickhouse.insert("animusic.served_slots", rows.served_slots(story.playlists))
    forgotten = Forgotten.model_validate({"kind": "forgotten", "user_id": "eve", "received_at": T0})
    clickhouse.insert("animusic.forgotten", rows.forgotten([(Place(TOPIC, 0, 0, T0), forgotten)]))


def _duplicated(story: Story) -> Story:
    """As after a kill and with clients that retry: rows inserted twice, and events appended to the log once more."""
    rng = random.Random(5)
    again = Story()
    again.playlists = [*story.playlists, *story.playlists]
    late = [
        (place._replace(offset=place.offset + 1_000), event.model_copy(update={"received_at": event.received_at + 9}))
        for place, event in story.events
    ]
    again.events = [*story.events, *rng.sample(story.events, len(story.events) // 2), *late]
    rng.shuffle(again.events)
    return again


@pytest.fixture(params=["clean", "duplicated", "duplicated and merged"])
def told(request: pytest.FixtureRequest, clickhouse: ChdbConnection, story: Story) -> ChdbConnection:
    """The story in the store, three times over."""
    _insert(clickhouse, story if request.param == "clean" else _duplicated(story))
    if request.param == "duplicated and merged":
        for table in ("feedback", "playlists", "served_slots", "registers", "slot_outcomes", "forgotten"):
            clickhouse.command(f"OPTIMIZE TABLE animusic.{table} FINAL")
    return clickhouse


def _ask(clickhouse: ChdbConnection, statement: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in clickhouse.query(statement).to_pylist()]


def test_exposure_curve(told: ChdbConnection) -> None:
    assert _ask(told, "SELECT * FROM animusic.exposure_curve") == [
        ("claimed", "popular", 1, 1, 1.0, 0.5),
        ("slot", "random", 1, 1, 0.0, 0.6),
        ("slot", "tfidf", 1, 2, 0.5, pytest.approx(0.9)),
        ("slot", "tfidf", 2, 2, 0.5, pytest.approx(0.3)),
    ]


def test_arm_engagement(told: ChdbConnection) -> None:
    columns = "attribution, arm, served, withdrawn, shown, reached, started, watched, liked, listeners"
    assert _ask(told, f"SELECT {columns} FROM animusic.arm_engagement") == [
        ("claimed", "popular", 0, 0, 0, 1, 0, 1, 1, 1),
        ("slot", "popular", 1, 1, 0, 0, 0, 0, 0, 0),
        # Bob's second arm for b is a slot that was reached, though no exposure.
        ("slot", "random", 1, 0, 1, 2, 0, 2, 0, 2),
        ("slot", "tfidf", 5, 0, 3, 4, 1, 4, 2, 2),
    ]
    rates = _ask(told, "SELECT arm, like_rate, watch_ratio FROM animusic.arm_engagement WHERE attribution = 'slot'")
    assert rates == [
        ("popular", None, None),
        ("random", 0.0, pytest.approx(0.35)),
        ("tfidf", 0.5, pytest.approx((0.8 + 0.4 + 1.0 + 0.2) / 4)),
    ]


def test_feedback_clean_has_each_event_once_as_it_was_first_received(told: ChdbConnection, story: Story) -> None:
    found = _ask(told, "SELECT user_id, toString(event_id), toUnixTimestamp64Milli(received_at), `offset`"
                       " FROM animusic.feedback_clean")  # fmt: skip
    expected = [
        (event.user_id, str(event.event_id), event.received_at, place.offset)
        for place, event in story.events
        if event.user_id != "eve"
    ]
    assert sorted(found) == sorted(expected)


def test_slots_tell_withdrawn_and_kept(told: ChdbConnection) -> None:
    found = _ask(told, "SELECT revision, song_id, kept, withdrawn FROM animusic.slots WHERE user_id = 'ann'"
                       " ORDER BY revision, slot")  # fmt: skip
    assert found == [
        (0, "a", False, 0), (0, "b", False, 0), (0, "c", False, 0), (0, "d", False, 1),
        (1, "a", True, 0), (1, "b", True, 0), (1, "c", True, 0), (1, "e", False, 0),
    ]  # fmt: skip
    assert _ask(told, "SELECT count() FROM animusic.playlists_clean") == [(3,)]


def test_listener_songs_decode_the_registers(told: ChdbConnection) -> None:
    found = _ask(told, "SELECT song_id, progress, liked, started, settled, arm, attribution"
                       " FROM animusic.listener_songs WHERE user_id = 'ann' ORDER BY song_id")  # fmt: skip
    assert found == [
        ("a", 0.8, 1, 1, 1, "tfidf", "slot"),
        ("b", 0.6, 0, 0, 0, "random", "slot"),
        ("c", 1.0, 1, 0, 1, "tfidf", "slot"),
        ("e", 0.0, 0, 0, 0, "tfidf", "slot"),
        ("z", 1.0, 0, 0, 0, "", "none"),
    ]


def test_the_forgotten_are_in_no_view(told: ChdbConnection) -> None:
    for view in ("feedback_clean", "playlists_clean", "slots", "listener_songs"):
        assert _ask(told, f"SELECT count() FROM animusic.{view} WHERE user_id = 'eve'") == [(0,)], view


def test_songs_and_live_models_show_the_last_record_of_the_newest_topic(clickhouse: ChdbConnection) -> None:
    def song(song_id: str, title: str) -> Song:
        shown = Appearance(anime=Anime(anime_id="mal-1", title="Anime", mal_id=1), relation="OP")
        return Song(song_id=song_id, title=title, appearances=(shown,), links=(Link(site="youtube", id="y", views=9),))

    def model(version: str) -> LiveModel:
        told = {"arm": "tfidf", "version": version, "vectors": "sparse", "dimension": 2, "songs": 2, "built_at": T0}
        return LiveModel.model_validate({**told, "schema": 1, "catalogue_digest": "0" * 32})

    gone = WithdrawnSong.model_validate({"schema": 1, "song_id": "b", "withdrawn": True})
    old, new = "1" * 32, "0" * 32
    songs = [
        (Place(old, 0, 50, T0), song("a", "of the deleted topic")),
        (Place(new, 0, 1, T0 + 1), song("a", "first")),
        (Place(new, 0, 2, T0 + 1), song("b", "b")),
        (Place(new, 0, 3, T0 + 1), song("a", "second")),
        (Place(new, 0, 4, T0 + 2), gone),
    ]
    clickhouse.insert("animusic.catalogue", rows.catalogue([*songs, *songs[:3]]))
    assert _ask(clickhouse, "SELECT song_id, title, withdrawn, youtube_id, youtube_views FROM animusic.songs") == [
        ("a", "second", False, "y", 9),
        ("b", "", True, "", None),
    ]
    switches = [(Place(old, 0, 9, T0), model("0" * 16)), (Place(new, 0, 1, T0 + 1), model("1" * 16))]
    clickhouse.insert("animusic.model_switches", rows.model_switches(switches))
    assert _ask(clickhouse, "SELECT arm, version, vectors FROM animusic.live_models") == [("tfidf", "1" * 16, "sparse")]


# ---- the same views on thousands of contradicting events in many parts, against a plain computation ----------------


@pytest.fixture(params=["own ids", "aliases"])
def scattered(
    request: pytest.FixtureRequest, clickhouse: ChdbConnection
) -> Iterator[tuple[ChdbConnection, list[FeedbackEvent]]]:
    """Events in nine inserts that were not merged, so that every register has to be merged at read.

    With aliases, half of them came under another id of their song or anime; the views must answer as without.
    """
    events = [event for history in histories(31, 300) for event in history.events]
    logged = events
    if request.param == "aliases":
        _insert_aliases(clickhouse)
        rng = random.Random(7)
        logged = [_under_an_alias(event) if rng.random() < 0.5 else event for event in events]
    clickhouse.command("SYSTEM STOP MERGES")
    for part in range(9):
        of_part = [(Place(TOPIC, 0, at, T0), event) for at, event in enumerate(logged) if at % 9 == part]
        clickhouse.insert("animusic.feedback", rows.feedback(of_part))
    yield clickhouse, events
    clickhouse.command("SYSTEM START MERGES")


ALIASES = {"a": "a-before", "anidb-1": "song-0", "mal-1": "anime-0"}


def _under_an_alias(event: FeedbackEvent) -> FeedbackEvent:
    return event.model_copy(
        update={name: ALIASES.get(str(own), own) for name in ("song_id", "anime_id") if (own := getattr(event, name))}
    )


def _insert_aliases(clickhouse: ChdbConnection) -> None:
    """The songs and the anime that have aliases; one of those is a record that was merged."""
    anime = Anime(anime_id="mal-1", aliases=(ALIASES["mal-1"],), title="Show")
    songs: list[Song | WithdrawnSong] = [
        Song(
            song_id=each, aliases=(ALIASES[each], "b"), title=each, appearances=(Appearance(anime=anime, relation="x"),)
        )
        for each in ("a", "anidb-1")
    ]
    songs.append(songs[0].model_copy(update={"song_id": "b", "aliases": ()}))
    songs.append(WithdrawnSong(song_id=ALIASES["a"], withdrawn=True, merged_into="a"))
    placed = [(Place(TOPIC, 3, at, T0), song) for at, song in enumerate(songs)]
    clickhouse.insert("animusic.catalogue", rows.catalogue(placed))


def _decoded(packed: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Watched and liked of a packed (user, song); zeros where absent."""
    watched = WATCHED.decode(packed[SERVED_SLICES["watched"]]) or {"ppm": 0, "watch_ms": 0, "duration_ms": 0}
    return watched, LIKED.decode(packed[SERVED_SLICES["liked"]]) or {"occurred_at": 0, "value": 0}


def test_listener_songs_equal_the_fold(scattered: tuple[ChdbConnection, list[FeedbackEvent]]) -> None:
    clickhouse, events = scattered
    expected = {}
    for user, folded in fold(events).items():
        for song in folded.songs.keys() | folded.exposures.keys():
            watched, liked = _decoded(folded.songs.get(song, SERVED_IDENTITY))
            exposed = FIRST_EXPOSURE.decode(folded.exposures.get(song, FIRST_EXPOSURE.identity))
            arm = ARM_OF_CODE[exposed["arm"]] if exposed else ""
            expected[user, song] = (watched["watch_ms"], watched["duration_ms"], liked["value"], arm)
    found = _ask(clickhouse, "SELECT user_id, song_id, watch_ms, duration_ms, liked, arm FROM animusic.listener_songs")
    assert {row[:2]: row[2:] for row in found} == expected


def test_listener_vetoes_equal_the_fold(scattered: tuple[ChdbConnection, list[FeedbackEvent]]) -> None:
    clickhouse, events = scattered
    expected = {
        (user, anime): (found["value"], found["occurred_at"])
        for user, folded in fold(events).items()
        for anime, value in folded.vetoes.items()
        if (found := VETO.decode(value))
    }
    found = _ask(
        clickhouse, "SELECT user_id, anime_id, vetoed, toUnixTimestamp64Milli(since) FROM animusic.listener_vetoes"
    )
    assert {row[:2]: row[2:] for row in found} == expected


def test_events_are_shown_under_the_own_ids_of_their_songs(
    scattered: tuple[ChdbConnection, list[FeedbackEvent]],
) -> None:
    clickhouse, events = scattered
    found = _ask(clickhouse, "SELECT DISTINCT song_id, anime_id FROM animusic.feedback_clean")
    assert set(found) == {(event.song_id or "", event.anime_id or "") for event in events}


def test_exposure_curve_equals_a_plain_computation(scattered: tuple[ChdbConnection, list[FeedbackEvent]]) -> None:
    clickhouse, events = scattered
    points: dict[tuple[int, int, int], list[tuple[int, int]]] = defaultdict(list)
    for folded in fold(event for event in events if event.arm).values():
        brought: dict[tuple[int, int], list[tuple[bytes, str]]] = defaultdict(list)
        for song, value in folded.exposures.items():
            exposed = FIRST_EXPOSURE.decode(value)
            if exposed and _decoded(folded.songs.get(song, SERVED_IDENTITY))[0]["watch_ms"]:
                brought[exposed["attribution"], exposed["arm"]].append((value[:24], song))
        for by, songs in brought.items():
            for number, (_, song) in enumerate(sorted(songs), 1):
                watched, liked = _decoded(folded.songs[song])
                points[*by, number].append((liked["value"], watched["ppm"]))
    expected = [
        (("slot", "claimed")[by - 1], ARM_OF_CODE[arm], number, len(found),
         pytest.approx(mean(like for like, _ in found)), pytest.approx(mean(ppm for _, ppm in found) / 1e6))
        for (by, arm, number), found in points.items()
    ]  # fmt: skip
    answered = _ask(clickhouse, "SELECT * FROM animusic.exposure_curve")
    assert len(expected) > 20
    assert answered == sorted(expected, key=lambda row: row[:3])


def test_arm_engagement_equals_a_plain_computation(scattered: tuple[ChdbConnection, list[FeedbackEvent]]) -> None:
    clickhouse, events = scattered
    slots: dict[tuple[Any, ...], list[FeedbackEvent]] = defaultdict(list)
    for event in events:
        if event.arm:
            at = (event.user_id, event.attribution, event.arm, event.playlist_id, event.slot or 0, event.song_id)
            slots[at].append(event)
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for (user, attribution, arm, _, _, song), found in slots.items():
        watched, liked = _decoded(fold(found)[user].songs.get(song, SERVED_IDENTITY))
        kinds = {event.kind for event in found}
        told = {
            "shown": "shown" in kinds,
            "reached": bool(kinds & {"started", "ended", "skipped", "liked", "unliked"} or watched["watch_ms"]),
            "watched": watched["watch_ms"] > 0,
            "liked": liked["value"],
            "watched_liked": liked["value"] if watched["watch_ms"] else 0,
            "ppm": watched["ppm"],
        }
        counts[attribution, arm].update({name: int(value) for name, value in told.items()})
    expected = [
        (*by, n["shown"], n["reached"], n["watched"], n["liked"],
         pytest.approx(n["watched_liked"] / n["watched"]), pytest.approx(n["ppm"] / n["watched"] / 1e6))
        for by, n in sorted(counts.items())
    ]  # fmt: skip
    columns = "attribution, arm, shown, reached, watched, liked, like_rate, watch_ratio"
    assert _ask(clickhouse, f"SELECT {columns} FROM animusic.arm_engagement") == expected
