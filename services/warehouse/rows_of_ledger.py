"""From records of the ledger's topic to columns (services/warehouse/ddl/0005). Pure."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from contracts.ledger import AcknowledgementEntry, Round, Tally
from services.warehouse.rows import Placed

_SPAN = pa.schema(
    [
        ("source", pa.string()), ("writer", pa.string()), ("topic", pa.string()), ("topic_id", pa.string()),
        ("partition", pa.uint32()), ("hour_ms", pa.uint64()), ("first", pa.uint64()), ("upto", pa.uint64()),
        ("records", pa.uint64()), ("digest", pa.string()), ("unreadable", pa.uint64()), ("said_ms", pa.uint64()),
    ]
)  # fmt: skip
_FOLDED = pa.schema(
    [
        ("topic", pa.string()), ("topic_id", pa.string()), ("partition", pa.uint32()), ("mark", pa.uint64()),
        ("said_ms", pa.uint64()),
    ]
)  # fmt: skip
_ROUND = pa.schema(
    [
        ("user_id", pa.string()), ("began_ms", pa.uint64()), ("accepted_ms", pa.float64()),
        ("profile_ms", pa.float64()), ("playlist_ms", pa.float64()), ("warehouse_ms", pa.float64()),
        ("trouble", pa.string()),
    ]
)  # fmt: skip


def spans(rows: Sequence[Placed[AcknowledgementEntry | Tally]]) -> pa.Table:
    """Rows of `ledger_spans`: one a range. `source` says who counted it: the gateway, or a reader of the topic."""
    return _table(_SPAN, [row for _, ledger_record in rows for row in _spans_of(ledger_record)])


def _spans_of(ledger_record: AcknowledgementEntry | Tally) -> list[dict[str, Any]]:
    about = {
        "source": "gateway" if isinstance(ledger_record, AcknowledgementEntry) else "topic",
        "writer": ledger_record.writer,
        "topic": ledger_record.topic,
        "topic_id": ledger_record.topic_id,
        "said_ms": ledger_record.said_at,
    }
    return [{**about, **span.model_dump(exclude={"hour"}), "hour_ms": span.hour} for span in ledger_record.spans]


def folded(rows: Sequence[Placed[Tally]]) -> pa.Table:
    """Rows of `ledger_folded`: one a partition, how far the live generation of profiles was when it was looked at."""
    return _table(
        _FOLDED,
        [
            {"topic": ledger_record.topic, "topic_id": ledger_record.topic_id, "partition": partition, "mark": mark,
             "said_ms": ledger_record.said_at}
            for _, ledger_record in rows for partition, mark in ledger_record.folded.items()
        ],
    )  # fmt: skip


def rounds(rows: Sequence[Placed[Round]]) -> pa.Table:
    """Rows of `probe_rounds`: one a round of the synthetic listener."""
    return _table(
        _ROUND,
        [
            {**ledger_record.model_dump(exclude={"began_at", "trouble"}), "began_ms": ledger_record.began_at,
             "trouble": ledger_record.trouble or ""}
            for _, ledger_record in rows
        ],
    )  # fmt: skip


def _table(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema)
