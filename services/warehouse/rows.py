"""From records of the log to columns of the warehouse. Pure; the columns are those of services/warehouse/ddl."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import orjson
import pyarrow as pa

from contracts.catalogue import Song, WithdrawnSong
from contracts.events import FeedbackEvent
from contracts.model_builds import ModelBuild
from contracts.models import LiveModel
from contracts.playlists import ServedPlaylist, ServedSlot
from contracts.profiles import Forgotten
from contracts.ranges import ANIDB_ID, LIKES, MAL_ID, POPULARITY, RATING, SCORE, VIEWS, Range

UUID_TYPE: Final = pa.binary(16)
_STRINGS: Final = pa.list_(pa.string())
V = TypeVar("V")


class Place(NamedTuple):
    """Where a record lies in the log. `logged_ms` is the record's own timestamp."""

    topic_id: str
    partition: int
    offset: int
    logged_ms: int


Placed = tuple[Place, V]
Column = tuple[str, pa.DataType, Callable[[Any], Any]]


def _table(columns: Sequence[Column], values: Sequence[Any], places: Sequence[Place]) -> pa.Table:
    """One row a value. Raises pa.ArrowInvalid or OverflowError when a value does not fit its column."""
    arrays = {name: _array(list(map(get, values)), type_) for name, type_, get in columns}
    arrays["topic_id"] = pa.array([place.topic_id for place in places], pa.string())
    arrays["partition"] = pa.array([place.partition for place in places], pa.uint32())
    arrays["offset"] = pa.array([place.offset for place in places], pa.uint64())
    return pa.table(arrays)


def _array(values: list[Any], type_: pa.DataType) -> pa.Array:
    """A column; absent text is '', anything else absent is NULL."""
    array = pa.array(values, type_)
    return array.fill_null("") if type_ == pa.string() and array.null_count else array


def _bytes_of(name: str) -> Callable[[Any], bytes | None]:
    """Gets a UUID's bytes."""
    get = attrgetter(name)

    def read(value: Any) -> bytes | None:
        found: UUID | None = get(value)
        return None if found is None else found.bytes

    return read


_FEEDBACK: Final[tuple[Column, ...]] = (
    ("user_id", pa.string(), attrgetter("user_id")),
    ("event_id", UUID_TYPE, _bytes_of("event_id")),
    ("kind", pa.string(), attrgetter("kind")),
    ("occurred_ms", pa.uint64(), attrgetter("occurred_at")),
    ("received_ms", pa.uint64(), attrgetter("received_at")),
    ("song_id", pa.string(), attrgetter("song_id")),
    ("anime_id", pa.string(), attrgetter("anime_id")),
    ("play_id", UUID_TYPE, _bytes_of("play_id")),
    ("watch_ms", pa.uint32(), attrgetter("watch_ms")),
    ("played_ms", pa.uint32(), attrgetter("played_ms")),
    ("duration_ms", pa.uint32(), attrgetter("duration_ms")),
    ("direction", pa.string(), attrgetter("direction")),
    ("link", pa.string(), attrgetter("link")),
    ("rate", pa.float64(), attrgetter("rate")),
    ("muted", pa.bool_(), attrgetter("muted")),
    ("hidden", pa.bool_(), attrgetter("hidden")),
    ("attribution", pa.string(), attrgetter("attribution")),
    ("refusal", pa.string(), attrgetter("refusal")),
    ("arm", pa.string(), attrgetter("arm")),
    ("playlist_id", UUID_TYPE, _bytes_of("playlist_id")),
    ("revision", pa.uint16(), attrgetter("revision")),
    ("slot", pa.uint8(), attrgetter("slot")),
    ("p_arm", pa.float64(), attrgetter("p_arm")),
    ("p_song", pa.float64(), attrgetter("p_song")),
    ("model_version", pa.string(), attrgetter("model_version")),
    ("issued_ms", pa.int64(), attrgetter("issued_at")),
    ("schema", pa.uint16(), attrgetter("schema_")),
)


def feedback(rows: Sequence[Placed[FeedbackEvent]]) -> pa.Table:
    """Rows of `feedback`."""
    return _table(_FEEDBACK, [event for _, event in rows], [place for place, _ in rows])


_PLAYLISTS: Final[tuple[Column, ...]] = (
    ("user_id", pa.string(), attrgetter("user_id")),
    ("playlist_id", UUID_TYPE, _bytes_of("playlist_id")),
    ("revision", pa.uint16(), attrgetter("revision")),
    ("served_ms", pa.uint64(), attrgetter("served_at")),
    ("slots", pa.uint16(), lambda p: len(p.slots)),
    ("picks", _STRINGS, lambda p: list(p.picks)),
    ("slot_order", pa.string(), attrgetter("order")),
    ("withdrawn", _STRINGS, lambda p: list(p.withdrawn)),
    ("reflects", pa.map_(pa.string(), pa.uint64()), lambda p: list(p.reflects.items())),
    ("profile_digest", pa.string(), attrgetter("profile_digest")),
    ("fresh", pa.bool_(), attrgetter("fresh")),
    ("cold", pa.string(), attrgetter("cold")),
    ("cold_weight", pa.float64(), attrgetter("cold_weight")),
    ("cold_songs", _STRINGS, lambda p: list(p.cold_songs)),
    ("left_out", pa.map_(pa.string(), pa.string()), lambda p: list(p.left_out.items())),
    ("from_slot", pa.uint16(), attrgetter("from_slot")),
    ("generation", pa.string(), attrgetter("generation")),
    ("schema", pa.uint16(), attrgetter("schema_")),
)


def playlists(rows: Sequence[Placed[ServedPlaylist]]) -> pa.Table:
    """Rows of `playlists`."""
    return _table(_PLAYLISTS, [playlist for _, playlist in rows], [place for place, _ in rows])


class _Slot(NamedTuple):
    playlist: ServedPlaylist
    slot: ServedSlot


_SLOTS: Final[tuple[Column, ...]] = (
    ("user_id", pa.string(), attrgetter("playlist.user_id")),
    ("playlist_id", UUID_TYPE, _bytes_of("playlist.playlist_id")),
    ("revision", pa.uint16(), attrgetter("playlist.revision")),
    ("slot", pa.uint8(), attrgetter("slot.slot")),
    ("served_ms", pa.uint64(), attrgetter("playlist.served_at")),
    ("song_id", pa.string(), attrgetter("slot.song_id")),
    ("anime_id", pa.string(), attrgetter("slot.anime_id")),
    ("arm", pa.string(), attrgetter("slot.arm")),
    ("p_arm", pa.float64(), attrgetter("slot.p_arm")),
    ("p_song", pa.float64(), attrgetter("slot.p_song")),
    ("score", pa.float64(), attrgetter("slot.score")),
    ("model_version", pa.string(), attrgetter("slot.model_version")),
    ("kept", pa.bool_(), attrgetter("slot.kept")),
    ("slot_order", pa.string(), attrgetter("playlist.order")),
    ("cold", pa.string(), attrgetter("playlist.cold")),
    ("cold_weight", pa.float64(), attrgetter("playlist.cold_weight")),
)


def served_slots(rows: Sequence[Placed[ServedPlaylist]]) -> pa.Table:
    """Rows of `served_slots`, one a slot."""
    slots = [(place, _Slot(playlist, slot)) for place, playlist in rows for slot in playlist.slots]
    return _table(_SLOTS, [slot for _, slot in slots], [place for place, _ in slots])


def _of_song(get: Callable[[Song], Any], absent: Any) -> Callable[[Placed[Song | WithdrawnSong]], Any]:
    return lambda row: get(row[1]) if isinstance(row[1], Song) else absent


def _anime_aliases(song: Song) -> list[tuple[str, str]]:
    return [(alias, use.anime.anime_id) for use in song.appearances for alias in use.anime.aliases]


_CATALOGUE: Final[tuple[Column, ...]] = (
    ("song_id", pa.string(), lambda row: row[1].song_id),
    ("aliases", _STRINGS, _of_song(lambda s: list(s.aliases), [])),
    ("anime_aliases", pa.map_(pa.string(), pa.string()), _of_song(_anime_aliases, [])),
    ("anidb_id", pa.uint32(), _of_song(lambda s: s.anidb, None)),
    ("merged_into", pa.string(), lambda row: None if isinstance(row[1], Song) else row[1].merged_into),
    ("withdrawn", pa.bool_(), lambda row: isinstance(row[1], WithdrawnSong)),
    ("title", pa.string(), _of_song(lambda s: s.title, "")),
    ("anime_id", pa.string(), _of_song(lambda s: s.anime.anime_id, "")),
    ("anime", pa.string(), _of_song(lambda s: s.anime.title, "")),
    ("mal_id", pa.uint32(), _of_song(lambda s: s.anime.mal_id, None)),
    ("mal_score", pa.float64(), _of_song(lambda s: s.anime.score, None)),
    ("mal_popularity", pa.uint32(), _of_song(lambda s: s.anime.popularity, None)),
    ("genres", _STRINGS, _of_song(lambda s: list(s.anime.genres), [])),
    ("anime_ids", _STRINGS, _of_song(lambda s: [use.anime.anime_id for use in s.appearances], [])),
    ("relations", _STRINGS, _of_song(lambda s: [use.relation for use in s.appearances], [])),
    ("vocals", _STRINGS, _of_song(lambda s: list(s.credits.vocals), [])),
    ("lyrics", _STRINGS, _of_song(lambda s: list(s.credits.lyrics), [])),
    ("composition", _STRINGS, _of_song(lambda s: list(s.credits.composition), [])),
    ("arrangement", _STRINGS, _of_song(lambda s: list(s.credits.arrangement), [])),
    ("tags", _STRINGS, _of_song(lambda s: list(s.tags), [])),
    ("rating", pa.float64(), _of_song(lambda s: s.rating, None)),
    ("youtube_id", pa.string(), _of_song(lambda s: s.links[0].id if s.links else "", "")),
    ("youtube_views", pa.uint64(), _of_song(lambda s: s.links[0].views if s.links else None, None)),
    ("youtube_likes", pa.uint64(), _of_song(lambda s: s.links[0].likes if s.links else None, None)),
    ("made_up", pa.bool_(), _of_song(lambda s: s.made_up, False)),
    ("logged_ms", pa.uint64(), lambda row: row[0].logged_ms),
)


CATALOGUE_RECORDS: Final = (Song, WithdrawnSong)
# What the contract lets into a column of numbers; each fits its column, so that no song is kept from ClickHouse by one.
CATALOGUE_RANGES: Final[Mapping[str, Range]] = {
    "mal_id": MAL_ID, "mal_score": SCORE, "mal_popularity": POPULARITY, "rating": RATING, "youtube_views": VIEWS,
    "youtube_likes": LIKES, "anidb_id": ANIDB_ID,
}  # fmt: skip


def catalogue(rows: Sequence[Placed[Song | WithdrawnSong]]) -> pa.Table:
    """Rows of `catalogue`; of a withdrawn song only its id."""
    return _table(_CATALOGUE, rows, [place for place, _ in rows])


_MODELS: Final[tuple[Column, ...]] = (
    ("arm", pa.string(), lambda row: row[1].arm),
    ("version", pa.string(), lambda row: row[1].version),
    ("vectors", pa.string(), lambda row: row[1].vectors),
    ("dimension", pa.uint32(), lambda row: row[1].dimension),
    ("songs", pa.uint32(), lambda row: row[1].songs),
    ("catalogue_digest", pa.string(), lambda row: row[1].catalogue_digest),
    ("built_ms", pa.uint64(), lambda row: row[1].built_at),
    ("params", pa.string(), lambda row: orjson.dumps(row[1].params).decode()),
    ("logged_ms", pa.uint64(), lambda row: row[0].logged_ms),
)


def model_switches(rows: Sequence[Placed[LiveModel]]) -> pa.Table:
    """Rows of `model_switches`."""
    return _table(_MODELS, rows, [place for place, _ in rows])


_SECONDS: Final = pa.map_(pa.string(), pa.float64())
_BUILDS: Final[tuple[Column, ...]] = (
    ("arm", pa.string(), lambda row: row[1].arm),
    ("version", pa.string(), lambda row: row[1].version),
    ("outcome", pa.string(), lambda row: row[1].outcome),
    ("went_live", pa.bool_(), lambda row: row[1].went_live),
    ("replaced", pa.string(), lambda row: row[1].replaced),
    ("why", pa.string(), lambda row: row[1].why),
    ("started_ms", pa.uint64(), lambda row: row[1].started_at),
    ("seconds", pa.float64(), lambda row: row[1].seconds),
    ("cpu_seconds", pa.float64(), lambda row: row[1].cpu_seconds),
    ("peak_memory_bytes", pa.uint64(), lambda row: row[1].peak_memory_bytes),
    ("songs", pa.uint32(), lambda row: row[1].songs),
    ("encoded", pa.uint32(), lambda row: row[1].encoded),
    ("reused", pa.uint32(), lambda row: row[1].reused),
    ("left_out", pa.uint32(), lambda row: row[1].left_out),
    ("recall", pa.float64(), lambda row: row[1].recall),
    ("stage_seconds", _SECONDS, lambda row: [(name, stage.seconds) for name, stage in row[1].stages.items()]),
    ("stage_cpu_seconds", _SECONDS, lambda row: [(name, stage.cpu_seconds) for name, stage in row[1].stages.items()]),
    ("params", pa.string(), lambda row: orjson.dumps(row[1].params).decode()),
    ("cores", pa.uint16(), lambda row: row[1].machine.cores if row[1].machine else None),
    ("architecture", pa.string(), lambda row: row[1].machine.architecture if row[1].machine else None),
    ("device", pa.string(), lambda row: row[1].machine.device if row[1].machine else None),
    ("logged_ms", pa.uint64(), lambda row: row[0].logged_ms),
)


def model_builds(rows: Sequence[Placed[ModelBuild]]) -> pa.Table:
    """Rows of `model_builds`."""
    return _table(_BUILDS, rows, [place for place, _ in rows])


def forgotten(rows: Sequence[Placed[Forgotten]]) -> pa.Table:
    """Rows of `forgotten`."""
    users = [record for _, record in rows]
    return pa.table(
        {
            "user_id": pa.array([user.user_id for user in users], pa.string()),
            "received_ms": pa.array([user.received_at for user in users], pa.uint64()),
        }
    )
