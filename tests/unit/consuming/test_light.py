"""Records as tuples of three say what aiokafka's records say, and nobody gets them who did not ask."""

from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from services.common.kafka.consuming.light import as_it_is
from tests.support.fetched import Line, batch_of, records_of

VALUES = st.none() | st.binary(max_size=20)
LINES = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=5)


@given(LINES, st.integers(0, 1 << 41))
def test_a_light_record_has_offset_time_and_value_of_the_whole_one(lines: list[Line], timestamp: int):
    batch = batch_of(lines, timestamp)
    whole = list(records_of(batch))
    assert [(one.key, one.value) for one in whole] == lines
    assert list(records_of(batch, as_it_is)) == [(one.offset, one.timestamp, one.value) for one in whole]


def test_who_did_not_ask_gets_whole_records():
    (record,) = records_of(batch_of([(b"k", b"v")], timestamp=7))
    assert record == ConsumerRecord("t", 3, 0, 7, 0, b"k", b"v", None, 1, 1, (("x", b"1"),))


def test_another_way_to_read_values_stays_what_it_was():
    (record,) = records_of(batch_of([(b"k", b"v")]), lambda value: value.decode())
    assert record.value == "v"
