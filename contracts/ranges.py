"""The valid ranges of catalogue numbers: one table for the file reader, the contract, and ClickHouse's columns.

A field with a `Range` reads a number outside it as None. It does not reject the record: an old record with such a
number stays a song, is served, and fits its columns. The published schema does not change, because it still accepts
everything that it accepted before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

_UINT32: Final = 2**32 - 1
_UINT64: Final = 2**64 - 1


@dataclass(frozen=True)
class Range:
    """Both ends are within."""

    least: int
    most: int

    def holds(self, value: float) -> bool:
        """Whether a number lies within; NaN does not."""
        return self.least <= value <= self.most

    def kept(self, value: float | None) -> float | None:
        """The number, or None where it lies outside."""
        return value if value is not None and self.holds(value) else None

    def __str__(self) -> str:
        return f"{self.least:,} to {self.most:,}"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.kept, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "description": f"{self}; null where a record has another value"}


# MyAnimeList counts its ids, ranks and popularity from 1; a 0 means that there is none.
MAL_ID: Final = Range(1, _UINT32)
RANK: Final = Range(1, _UINT32)
POPULARITY: Final = Range(1, _UINT32)
SCORE: Final = Range(0, 10)
RATING: Final = Range(0, 10)
VIEWS: Final = Range(0, _UINT64)
LIKES: Final = Range(0, _UINT64)
# Usually a part of the song's id and not a separate field.
ANIDB_ID: Final = Range(1, _UINT32)

# Column of a catalogue file -> its valid range.
OF_COLUMN: Final[Mapping[str, Range]] = {
    "MAL_ID": MAL_ID,
    "MAL_Rank": RANK,
    "MAL_Popularity": POPULARITY,
    "MAL_Score": SCORE,
    "rating": RATING,
    "youtube_views": VIEWS,
    "youtube_likes": LIKES,
}
