"""Parses the cells of AniMusic's CSV. An empty cell is None or (); an unreadable one raises ValueError."""

import re
from typing import Final

from collectors.counts import parse_count, shortened

_OPENING, _CLOSING, _BETWEEN = "([（［【「『", ")]）］】」』", ",;、，；"
_YOUTUBE_ID: Final = re.compile(r"[A-Za-z0-9_-]{11}")
_IN_URI: Final = re.compile(r"(?:[?&]v=|youtu\.be/|/embed/|/shorts/|/live/)([A-Za-z0-9_-]{11})(?![A-Za-z0-9_-])")
_ANIDB_SONG: Final = re.compile(r"(?:^|anidb\.net)/?song/([0-9]{1,40})(?![0-9])", re.IGNORECASE)
# C0 but tab and line ends, C1, halves of surrogate pairs, U+FFFD.
_NO_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")


def text(cell: str | None) -> str | None:
    """The cell without space around it; None when nothing is left, or when a table tool wrote its word for nothing."""
    stripped = (cell or "").strip()
    return None if stripped in {"", "nan", "NaN", "None", "null"} else stripped


def unreadable(cell: str) -> str | None:
    """Why a cell is damaged text, in words; None for good text.

    U+FFFD stands where an earlier conversion lost a character. Control characters and halves of a surrogate pair come
    of reading with the wrong encoding.
    """
    found = _NO_TEXT.search(cell)
    if found is None:
        return None
    return "a character that was lost before (U+FFFD)" if found[0] == "\ufffd" else f"a U+{ord(found[0]):04X}"


def count(cell: str | None) -> int | None:
    """A number of people, or a rank: see `collectors.counts`."""
    found = text(cell)
    return None if found is None else parse_count(found)


def whole(cell: str | None) -> int | None:
    """An id; `5114.0` is what a table tool makes of 5114."""
    found = text(cell)
    if found is None:
        return None
    if not re.fullmatch(r"[0-9]{1,40}([.,]0)?", found):
        raise ValueError(f"{shortened(found)} is not a whole number")
    return int(re.split("[.,]", found)[0])


def decimal(cell: str | None) -> float | None:
    """A score or a rating. Its one comma or point is a decimal one: scores are too small for thousands."""
    found = text(cell)
    if found is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,9}([.,][0-9]{1,20})?", found):
        raise ValueError(f"{shortened(found)} is not a number")
    return float(found.replace(",", "."))


def names(cell: str | None) -> tuple[str, ...]:
    """Several names in one cell, in their order, each once. A separator inside brackets belongs to its name."""
    parts, depth, start, whole_cell = [], 0, 0, text(cell) or ""
    for position, char in enumerate(whole_cell):
        if char in _OPENING:
            depth += 1
        elif char in _CLOSING:
            depth = max(0, depth - 1)
        elif char in _BETWEEN and depth == 0:
            parts.append(whole_cell[start:position])
            start = position + 1
    parts.append(whole_cell[start:])
    return tuple(dict.fromkeys(found for part in parts if (found := text(part))))


def anidb_song(song_url: str | None) -> int | None:
    """The AniDB song id in a `song_url` such as `/song/12345` or `https://anidb.net/song/12345`; None in any other."""
    match = _ANIDB_SONG.search(text(song_url) or "")
    return int(match[1]) if match else None


def source_url(song_url: str | None) -> str | None:
    """A `song_url` that can be followed: AniDB's own paths get AniDB's address."""
    found = text(song_url)
    return f"https://anidb.net{found}" if found and found.startswith("/") else found


def youtube_id(video_id: str | None, uri: str | None, *, has_uri_column: bool) -> str | None:
    """The real YouTube id of a row, or None.

    Files may hold placeholders in `youtube_video_id`, shaped like ids and unique. Where the file has a
    `full_youtube_uri` column, only a row with that cell filled has a video; without the column the id counts.
    Raises ValueError where a video is claimed and its id cannot be one.
    """
    if has_uri_column and text(uri) is None:
        return None
    found = text(video_id)
    if found is None:
        match = _IN_URI.search(text(uri) or "")
        found = match[1] if match else text(uri)
    if found is None or _YOUTUBE_ID.fullmatch(found):
        return found
    raise ValueError(f"{shortened(found)} is not a YouTube id of 11 characters")
