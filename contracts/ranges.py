"""What the numbers of a catalogue may be: one table for the reader of files, the contract, and ClickHouse's columns.

A `Range` in the annotation of a field leaves out, upon reading, what lies outside. It does not refuse the record: a
record of an older version that holds such a number stays a song, is served, and fits its columns. The published schema
stays as it is, because all that it took is still taken.
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
        return {**handler(schema), "description": f"{self}; null where a record says anything else"}


# MyAnimeList counts its ids, ranks and popularity from 1; a 0 means that there is none.
MAL_ID: Final = Range(1, _UINT32)
RANK: Final = Range(1, _UINT32)
POPULARITY: Final = Range(1, _UINT32)
SCORE: Final = Range(0, 10)
RATING: Final = Range(0, 10)
VIEWS: Final = Range(0, _UINT64)
LIKES: Final = Range(0, _UINT64)
# Most often a part of a song's id, and no field of its own.
ANIDB_ID: Final = Range(1, _UINT32)

# Column of a catalogue file -> what its numbers may be.
OF_COLUMN: Final[Mapping[str, Range]] = {
    "MAL_ID": MAL_ID,
    "MAL_Rank": RANK,
    "MAL_Popularity": POPULARITY,
    "MAL_Score": SCORE,
    "rating": RATING,
    "youtube_views": VIEWS,
    "youtube_likes": LIKES,
}
