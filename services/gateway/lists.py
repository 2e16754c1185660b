"""Reads anime lists leniently: accepts the readable entries, and counts the others by reason.

Lists come from AniList and MyAnimeList, through exports and other tools. Status names, score scales and missing values
differ, and some anime have no MAL id. An entry needs only its MAL id; an unreadable status or score is dropped.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from contracts.http import ListNote, ScoreFormat
from contracts.profiles import AnimeEntry, ListStatus

MOST_ENTRIES: Final = 20_000
MOST_MAL_ID: Final = 2**31 - 1
EXAMPLES: Final = 3
_LONGEST_EXAMPLE: Final = 80
BEST: Final = 10.0

# Our own names, AniList's, MyAnimeList's numbers, and those of exports.
_STATUSES: Final[dict[str, ListStatus]] = {
    **{name: name for name in get_args(ListStatus)},
    "current": "watching",
    "planning": "plan_to_watch",
    "planned": "plan_to_watch",
    "paused": "on_hold",
    "repeating": "rewatching",
    "1": "watching",
    "2": "completed",
    "3": "on_hold",
    "4": "dropped",
    "6": "plan_to_watch",
}
# AniList counts its three smileys as 35, 60 and 85 of 100.
_SMILEYS: Final = {1.0: 3.5, 2.0: 6.0, 3.0: 8.5}

_NO_MAL_ID: Final = "no_mal_id: the entry has no MAL id"
_BAD_MAL_ID: Final = f"bad_mal_id: mal_id is not a whole number from 1 to {MOST_MAL_ID}"
_DUPLICATE: Final = "duplicate: the anime is in the list already; its first entry counts"
_TOO_MANY: Final = f"too_many: a list holds {MOST_ENTRIES:,} anime at most"
_BAD_STATUS: Final = "bad_status: the status is not known; the anime is taken without it"
_BAD_SCORE: Final = "bad_score: the score is outside its scale or not a number; the anime is taken without it"
_OF_100: Final = (
    "scores_of_100: most scores are over 10, so all were divided by ten; send score_format to avoid this guess"
)
_EMPTY: Final = "empty_list: the list is empty now; former entries were removed"


class NothingReadable(Exception):
    """None of the sent entries is readable; `str()` says why, in one sentence."""


class _Notes:
    """Rejected or changed entries, by reason."""

    def __init__(self) -> None:
        self._found: dict[str, ListNote] = {}

    def add(self, reason: str, *raw: object) -> None:
        """Count `raw`, entries as they were sent; the first few of a reason become its examples."""
        note = self._found.setdefault(reason, ListNote(reason=reason, count=0, examples=[]))
        note.count += len(raw)
        note.examples += [_example(each) for each in raw[: EXAMPLES - len(note.examples)]]

    def all(self) -> list[ListNote]:
        """A note for each reason."""
        return list(self._found.values())


@dataclass
class ReadList:
    """A list that was read: its entries, the entries left out, and the dropped values."""

    entries: list[AnimeEntry] = field(default_factory=list)
    left_out: list[ListNote] = field(default_factory=list)
    warnings: list[ListNote] = field(default_factory=list)


@dataclass(slots=True)
class _Entry:
    mal_id: int
    status: ListStatus | None
    score: float | None
    raw: Any


def read_list(raw_entries: Sequence[Any], score_format: ScoreFormat | None = None) -> ReadList:
    """The readable part of a list. Raises NothingReadable if there are entries and none is readable."""
    left_out, warnings = _Notes(), _Notes()
    entries = _entries(raw_entries, left_out, warnings)
    if raw_entries and not entries:
        why = ", ".join(f"{note.count} {note.reason}" for note in left_out.all())
        raise NothingReadable(f"none of the {len(raw_entries)} entries can be read ({why}); the list stays as it was")
    if not entries:
        warnings.add(_EMPTY)
    _scale(entries, score_format, warnings)
    taken = [AnimeEntry(mal_id=each.mal_id, status=each.status, score=each.score) for each in entries]
    return ReadList(taken, left_out.all(), warnings.all())


def _entries(raw_entries: Sequence[Any], left_out: _Notes, warnings: _Notes) -> list[_Entry]:
    found: dict[int, _Entry] = {}
    for raw in raw_entries:
        entry = raw if isinstance(raw, dict) else {"mal_id": raw}
        mal_id = entry.get("mal_id")
        number = _whole(mal_id)
        if mal_id in (None, "", 0):
            left_out.add(_NO_MAL_ID, raw)
        elif number is None or not 1 <= number <= MOST_MAL_ID:
            left_out.add(_BAD_MAL_ID, raw)
        elif number in found:
            left_out.add(_DUPLICATE, raw)
        elif len(found) >= MOST_ENTRIES:
            left_out.add(_TOO_MANY, raw)
        else:
            found[number] = _Entry(number, _status(entry, warnings), _score(entry, warnings), raw)
    return list(found.values())


def _status(entry: dict[str, Any], warnings: _Notes) -> ListStatus | None:
    given = entry.get("status")
    if given is None or given == "":
        return None
    name = str(given).strip().lower().replace("-", "_").replace(" ", "_")
    status = _STATUSES.get(name)
    if status is None:
        warnings.add(_BAD_STATUS, entry)
    return status


def _score(entry: dict[str, Any], warnings: _Notes) -> float | None:
    """The score as it was sent, in any scale; None if there is none (AniList sends 0)."""
    given = entry.get("score")
    if given in (None, "", 0):
        return None
    number = _number(given)
    if number is None or number < 0:
        warnings.add(_BAD_SCORE, entry)
        return None
    return number or None


def _scale(entries: Sequence[_Entry], score_format: ScoreFormat | None, warnings: _Notes) -> None:
    """Convert every score to 0-10.

    Without a format the scale is 10, or 100 if most scores are over 10; a few scores over 10 are mistakes. Stars and
    smileys cannot be distinguished from low scores of 10, and are read as these.
    """
    scored = [entry for entry in entries if entry.score is not None]
    convert = _CONVERSIONS[score_format or _format_of(scored)]
    if score_format is None and convert is _CONVERSIONS["POINT_100"]:
        warnings.add(_OF_100, *(entry.raw for entry in scored))
    for entry in scored:
        assert entry.score is not None
        entry.score = convert(entry.score)
        if entry.score is None:
            warnings.add(_BAD_SCORE, entry.raw)


def _format_of(scored: Sequence[_Entry]) -> ScoreFormat:
    over = sum(entry.score is not None and BEST < entry.score <= 10 * BEST for entry in scored)
    return "POINT_100" if 2 * over > len(scored) else "POINT_10_DECIMAL"


def _out_of(best: float) -> Callable[[float], float | None]:
    return lambda score: score * BEST / best if score <= best else None


_CONVERSIONS: Final[dict[ScoreFormat, Callable[[float], float | None]]] = {
    "POINT_100": _out_of(100),
    "POINT_10_DECIMAL": _out_of(BEST),
    "POINT_10": _out_of(BEST),
    "POINT_5": _out_of(5),
    "POINT_3": _SMILEYS.get,
}


def _whole(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None


def _number(value: Any) -> float | None:
    """A finite number, given as a number or a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _example(raw: object) -> str:
    text = json.dumps(raw, ensure_ascii=False, default=str).encode("utf-8", "replace").decode()
    return text if len(text) <= _LONGEST_EXAMPLE else text[: _LONGEST_EXAMPLE - 1] + "…"
