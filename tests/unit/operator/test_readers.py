"""What the shared readers make of offsets, marks, hashes and parameters, without a store."""

import asyncio
from dataclasses import replace

import pytest
from aiokafka import TopicPartition

from contracts.fold import user_digest
from contracts.marks import MarkName
from contracts.placement import SHARDS
from services.operator.parity import Difference, Parity
from services.operator.readers.clickhouse import _text, caught_up
from services.operator.readers.log import Offsets
from services.operator.readers.redis import differing, lowest, stored_of

ID = "a" * 32
FIRST, SECOND, OTHER = TopicPartition("t", 0), TopicPartition("t", 1), TopicPartition("other", 0)
LOG = Offsets(0.0, {"t": ID, "other": "b" * 32}, {FIRST: 0, SECOND: 5, OTHER: 2}, {FIRST: 10, SECOND: 5, OTHER: 3})


def test_a_store_lacks_what_lies_behind_its_marks_and_is_still_in_the_log() -> None:
    assert (LOG.records, LOG.partitions("t"), LOG.spans("t")) == (11, 2, {FIRST: (0, 10), SECOND: (5, 5)})
    assert LOG.behind({}) == 11
    assert LOG.behind({MarkName(ID, 0): 7}) == 4
    assert LOG.behind({MarkName(ID, 0): 12, MarkName("b" * 32, 0): 3}) == 0
    # A topic that was made again has another id: its marks are those of another log.
    assert LOG.behind({MarkName("c" * 32, 0): 10}) == 11


async def test_a_store_is_waited_for_until_it_has_come_or_the_time_is_over() -> None:
    asked = iter([{}, {MarkName(ID, 0): 4}, {MarkName(ID, 0): 10, MarkName("b" * 32, 0): 3}])

    async def marks() -> dict[MarkName, int]:
        return next(asked)

    async def never() -> dict[MarkName, int]:
        return {MarkName(ID, 0): 9}

    assert await caught_up(LOG, marks, 60) == 0
    async with asyncio.timeout(60):
        assert await caught_up(LOG, never, 0.0) == 2


def test_hashes_come_as_maps_and_flat_and_without_what_is_no_part_of_a_profile() -> None:
    flat = [b"s1", b"x", b"#", b"v", b"~", b"w", b"h", b"y"]
    assert stored_of(flat) == stored_of(dict(zip(flat[::2], flat[1::2], strict=True))) == {b"s1": b"x", b"h": b"y"}
    assert stored_of([]) == {}
    assert differing({b"b": b"1", b"a": b"1", b"c": b"1"}, {b"c": b"1", b"b": b"2"}) == [b"a", b"b"]


def test_parity_counts_users_and_histories_and_names_what_differs() -> None:
    parity = Parity("g1", "g2")
    parity.count("u:ann", {b"s1": b"x"}, {b"s1": b"x"})
    assert parity.digests() == (user_digest("ann", {b"s1": b"x"}),) * 2
    parity.count("u:bob", {b"s1": b"x", b"s2": b"y"}, {b"s1": b"z"})
    parity.count("h:bob", {b"p": b"line"}, {})
    assert (parity.users, parity.fields, parity.histories, parity.equal) == (2, 3, 1, False)
    assert parity.differences == [
        Difference("bob", b"s1", b"x", b"z"),
        Difference("bob", b"s2", b"y", None),
        Difference("bob", b"hp", b"line", None),
    ]
    assert parity.digests()[0] != parity.digests()[1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        ("a\tb\n\\", "a\\tb\\n\\\\"),
        (["a", "b"], "['a','b']"),
        (["it's", "back\\slash"], "['it\\\\'s','back\\\\\\\\slash']"),
        ([], "[]"),
    ],
)
def test_a_parameter_is_escaped_as_clickhouse_reads_it(value: object, text: str) -> None:
    assert _text(value) == text


def test_a_mark_of_one_partition_is_that_of_its_own_shards() -> None:
    """verify asks again for one partition alone; its topic has as many partitions as before."""
    stored = [{LOG.mark(FIRST).field(): 10} if shard % 2 == 0 else {} for shard in range(SHARDS)]
    assert lowest(stored, replace(LOG, ends={FIRST: 10})) == {LOG.mark(FIRST): 10}
