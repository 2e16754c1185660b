"""Native with block info, of every type that the engine can write, column by column."""

import pytest

from services.common.clickhouse import ChdbConnection
from services.warehouse.native import with_block_info

pytestmark = pytest.mark.connected

BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
VALUES = [
    "toUInt8(number)", "toInt256(number)", "toFloat32(number)", "toBFloat16(number)", "number % 2 = 0", "true",
    "toString(number)", "repeat('é', 200)", "toFixedString('abc', 5)",
    "CAST(number % 2, 'Enum8(\\'a,(b\\' = 0, \\'c\\' = 1)')",
    "toDate('2026-11-30')", "toDate32('2026-11-30')", "now()", "now64(3, 'Asia/Tokyo')", "toIntervalDay(1)",
    "toDecimal32(1.5, 2)", "toDecimal64(1.5, 2)", "toDecimal128(1.5, 2)", "toDecimal256(1.5, 2)",
    "generateUUIDv4()", "toIPv4('1.2.3.4')", "toIPv6('::1')", "NULL", "if(number % 2 = 0, NULL, 'x')",
    "range(number)", "[range(number % 3), []]", "emptyArrayString()", "map('a', range(number), 'b', [])",
    "(1, 'a', [number])", "CAST((1, 'a'), 'Tuple(`x y` UInt8, b String)')",
    "(1.5, 2.5)::Point", "[[(1., 2.)]]::Polygon",
    "CAST(toString(number % 3), 'LowCardinality(String)')",
    "CAST(if(number = 1, NULL, 'x'), 'LowCardinality(Nullable(String))')",
    "[CAST(toString(number), 'LowCardinality(String)')]", "map(CAST('k', 'LowCardinality(String)'), number)",
    "arrayMap(i -> CAST(toString(i), 'LowCardinality(String)'), range(300))",
    "CAST(number, 'SimpleAggregateFunction(max, UInt64)')", "CAST([(1, 'a')], 'Nested(a UInt8, b String)')",
]  # fmt: skip


def native(clickhouse: ChdbConnection, columns: str, source: str) -> bytes:
    return clickhouse.raw(f"SELECT {columns} FROM {source}", "Native")


@pytest.mark.parametrize("value", VALUES)
def test_each_type_is_walked_over_to_its_end(clickhouse: ChdbConnection, value: str) -> None:
    plain = native(clickhouse, f"{value} AS a, 'behind' AS b", "numbers(5)")
    told = with_block_info(plain)
    assert told.startswith(BLOCK_INFO)
    # One block of two columns; the name of the second begins where the first was found to end.
    assert len(told) == len(plain) + len(BLOCK_INFO) + 2
    assert told.endswith(b"\x01b\x06String\x00" + b"\x06behind" * 5)


def test_all_of_them_in_several_blocks(clickhouse: ChdbConnection) -> None:
    columns = ", ".join(f"{value} AS a{number}" for number, value in enumerate(VALUES) if "range(number)" not in value)
    plain = native(clickhouse, columns, "numbers(150000)")
    told = with_block_info(plain)
    blocks = told.count(BLOCK_INFO + plain[:1])
    assert blocks > 1
    assert len(told) == len(plain) + blocks * (len(BLOCK_INFO) + columns.count(" AS "))


def test_tables_of_ours_can_be_sent_but_for_states(clickhouse: ChdbConnection) -> None:
    assert with_block_info(native(clickhouse, "*", "animusic.exposure_curve")) == b""
    with pytest.raises(ValueError, match=r"the column s is of the type AggregateFunction\(sum, UInt64\).*toString"):
        with_block_info(native(clickhouse, "sumState(number) AS s", "numbers(5)"))
