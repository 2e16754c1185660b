"""The one parser of counts: exact where a text can be read in one way only, and nothing elsewhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.counts import parse_count

EXACT = {
    # Digits, grouped as people group them.
    "0": 0,
    "17": 17,
    "938066": 938_066,
    "938,066": 938_066,
    "1,234,567": 1_234_567,
    "12.345": 12_345,
    "1.234.567": 1_234_567,
    "1 544 080": 1_544_080,
    "1\u00a0544\u00a0080": 1_544_080,
    "1\u202f544\u202f080": 1_544_080,
    "1\u2009544\u2009080": 1_544_080,
    "1'234'567": 1_234_567,
    "1\u2019234\u2019567": 1_234_567,
    "12,34,567": 1_234_567,
    "1,23,45,678": 12_345_678,
    # What a table tool makes of a whole number.
    "938066.0": 938_066,
    "1,234.0": 1_234,
    "1.234,0": 1_234,
    "12,0": 12,
    "12.00": 12,
    # A word for thousands or millions; then a separator before other than three digits is a decimal one.
    "9.7K": 9_700,
    "9,7K": 9_700,
    "9.7k": 9_700,
    "1.2M": 1_200_000,
    "1,2 M": 1_200_000,
    "1,2\u00a0M": 1_200_000,
    "1.25M": 1_250_000,
    "1.2345M": 1_234_500,
    "12K": 12_000,
    "1 234K": 1_234_000,
    "1,234,567K": 1_234_567_000,
    "1,234.5K": 1_234_500,
    "1.234,5K": 1_234_500,
    "1,234.567K": 1_234_567,
    "0.123M": 123_000,
    "0,123M": 123_000,
    "3b": 3_000_000_000,
    "2bn": 2_000_000_000,
    "1.5 Mio.": 1_500_000,
    "1,5 Mio. Aufrufe": 1_500_000,
    "2 Mrd.": 2_000_000_000,
    "1.2 lakh views": 120_000,
    "1.5 crore": 15_000_000,
    # Japanese, Chinese, Korean.
    "1.2万": 12_000,
    "1.2万回視聴": 12_000,
    "1.2万 回視聴": 12_000,
    "123万": 1_230_000,
    "1.2億": 120_000_000,
    "1億2345万": 123_450_000,
    "1億2345万 回視聴": 123_450_000,
    "3万5000": 35_000,
    "1.2M回視聴": 1_200_000,
    "1,234 回視聴": 1_234,
    "視聴回数 1,234 回": 1_234,
    "1.2만": 12_000,
    "12万次观看": 120_000,
    # Other digits, and the words around a number.
    "１２３４": 1_234,
    "１，２３４": 1_234,
    "1,234,567 views": 1_234_567,
    "1 view": 1,
    "9.7K likes": 9_700,
    "9.7K Views": 9_700,
    "12.345 Aufrufe": 12_345,
    "No views": 0,
    "  42 ": 42,
}
NONE = [
    "1,23", "1.2", "12.34", "0.5", "1,2345", "1.2345", "0.123", "0,123",  # a fraction of a person
    "1,234K", "1.234K", "1.234 Mio.", "12,345K",  # either of two
    "1.23456K", "9.7777K",  # no whole number
    "1 2", "12 34", "1 23 456", "1,23,4567", "1,234.567", "1.234,567", "1,234,56", "1.234.56", "1..2", "1,,234",
    "1.234,567.890", "1'23", "01,234",
    "many", "-5", "-1", "+5", "1e6", "K", "9.7X", "9.7 mil", "1²", "½", "5 of 10", "1M+", "~1M", "∞", "", " ", ",", ".",
    "12 months", "3回目", "万", "億5", "1万2億", "nan",
]  # fmt: skip


@pytest.mark.parametrize("text", EXACT)
def test_what_can_be_read_in_one_way_only(text: str) -> None:
    assert parse_count(text) == EXACT[text]


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_number_or_may_be_two(text: str) -> None:
    with pytest.raises(ValueError, match="is not a count that can be read in one way only"):
        parse_count(text)


@given(st.integers(0, 10**19))
def test_a_number_is_itself_however_it_is_grouped(number: int) -> None:
    grouped = f"{number:,}"
    ways = [grouped, *(grouped.replace(",", by) for by in (".", " ", "'", "\u202f")), f"{number}.0", f"{number} views"]
    assert {parse_count(way) for way in ways} == {number}


@given(st.one_of(st.text(), st.text("0123456789., '万億KM回views"), st.text("9", min_size=61)))
def test_any_other_text_raises_its_sentence_and_nothing_else(text: str) -> None:
    try:
        assert parse_count(text) >= 0
    except ValueError as error:
        assert len(str(error)) < 300
