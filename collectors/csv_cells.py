"""What a cell of AniMusic's CSV means. An empty cell is None or (); what cannot be read raises ValueError."""

import re
from decimal import Decimal
from typing import Final

_SCALE: Final = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}
_COUNT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmb]?)", re.IGNORECASE)
_OPENING, _CLOSING, _BETWEEN = "([（［【「『", ")]）］】」』", ",;、，；"
_YOUTUBE_ID: Final = re.compile(r"[A-Za-z0-9_-]{11}")
_IN_URI: Final = re.compile(r"(?:[?&]v=|youtu\.be/|/embed/|/shorts/|/live/)([A-Za-z0-9_-]{11})(?![A-Za-z0-9_-])")
_ANIDB_SONG: Final = re.compile(r"(?:^|anidb\.net)/?song/(\d+)", re.IGNORECASE)


def text(cell: str | None) -> str | None:
    """The cell without space around it; None when nothing is left, or when a table tool wrote its word for nothing."""
    stripped = (cell or "").strip()
    return None if stripped in {"", "nan", "NaN", "None", "null"} else stripped


def count(cell: str | None) -> int | None:
    """A number of people: `938,066`, `9.7K`, `1.2M`, `1 544 080`. Short ones are as exact as they are written."""
    found = text(cell)
    if found is None:
        return None
    match = _COUNT.fullmatch(found.replace(",", "").replace(" ", "").replace("\u00a0", ""))
    if match is None:
        raise ValueError(f"{found!r} is not a count like 938,066 or 9.7K")
    return int(Decimal(match[1]) * _SCALE[match[2].lower()])


def whole(cell: str | None) -> int | None:
    """An id or a rank; `5114.0` is what a table tool makes of 5114."""
    found = text(cell)
    if found is None:
        return None
    if not re.fullmatch(r"\d{1,15}(\.0+)?", found):
        raise ValueError(f"{found!r} is not a whole number")
    return int(found.partition(".")[0])


def decimal(cell: str | None) -> float | None:
    """A score or a rating."""
    found = text(cell)
    if found is None:
        return None
    if not re.fullmatch(r"-?\d{1,9}(\.\d+)?", found):
        raise ValueError(f"{found!r} is not a number")
    return float(found)


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
    `full_youtube_uri` column, only a row with that cell filled has a video; without the column the id is believed.
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
    raise ValueError(f"{found!r} is not a YouTube id of 11 characters")
