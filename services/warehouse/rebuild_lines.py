"""Feedback off the log into columns, fast: what the gateway wrote is parsed by pyarrow, all else by the contract.

One expression decides (contracts.plain_feedback): it accepts a strict part of what `FeedbackEvent` accepts, in
the one layout that `log_value` gives, so whatever it lets through means to a JSON parser what it means to the contract.
A test holds the columns of both ways equal.
"""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
from pyarrow import json as pa_json

# In the order and by the names of `FeedbackEvent.log_value`; UUIDs stay text, the engine turns them into UUIDs.
_SCHEMA: Final = pa.schema(
    {
        **{"schema": pa.uint16(), "event_id": pa.string(), "kind": pa.string(), "user_id": pa.string()},
        **{"occurred_at": pa.uint64(), "received_at": pa.uint64(), "song_id": pa.string(), "anime_id": pa.string()},
        **{"play_id": pa.string(), "watch_ms": pa.uint32(), "played_ms": pa.uint32(), "duration_ms": pa.uint32()},
        **{"direction": pa.string(), "link": pa.string(), "rate": pa.float64(), "muted": pa.bool_()},
        **{"hidden": pa.bool_(), "attribution": pa.string(), "refusal": pa.string(), "arm": pa.string()},
        **{"playlist_id": pa.string(), "revision": pa.uint16(), "slot": pa.uint8(), "p_arm": pa.float64()},
        **{"p_song": pa.float64(), "model_version": pa.string(), "issued_at": pa.int64()},
    }
)
_RENAMED: Final = {"occurred_at": "occurred_ms", "received_at": "received_ms", "issued_at": "issued_ms"}
_NULLABLE_TEXT: Final = frozenset({"play_id", "playlist_id"})
_LONGEST_BLOCK: Final = 1 << 30


def plain_feedback(
    values: Sequence[bytes], topic_id: str, partitions: Sequence[int], offsets: Sequence[int]
) -> pa.Table:
    """Rows of `feedback`, as `rows.feedback` gives them of decoded events.

    `contracts.plain_feedback.is_plain` must hold of every value.
    """
    text = b"\n".join(values)
    read = pa_json.read_json(
        pa.BufferReader(text),
        read_options=pa_json.ReadOptions(use_threads=False, block_size=min(len(text) + 2, _LONGEST_BLOCK)),
        parse_options=pa_json.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="error"),
    )
    columns = {_RENAMED.get(name, name): _filled(name, read[name]) for name in _SCHEMA.names}
    columns["topic_id"] = pa.repeat(topic_id, len(values))
    columns["partition"] = pa.array(partitions, pa.uint32())
    columns["offset"] = pa.array(offsets, pa.uint64())
    return pa.table(columns)


def _filled(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Absent text is '', as everywhere in these tables."""
    text = column.type == pa.string() and name not in _NULLABLE_TEXT
    return column.fill_null("") if text and column.null_count else column
