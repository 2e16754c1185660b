"""Compressed bodies of the SQL endpoint."""

import gzip
import struct
import zlib
from collections.abc import Callable

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.warehouse.coding import TooLong, as_blocks, decoded, encoded, encoding_for, of_blocks, zstd

MOST = 10_000
# `1\n`, as clickhouse-jdbc 0.10 and clickhouse-go 2.51 read it and checked its sum.
ONE = bytes.fromhex("de79cf087fb635049db816df195b016b820c0000000200000020310a")


def test_a_block_is_what_drivers_read() -> None:
    assert as_blocks(b"1\n") == ONE
    assert of_blocks(ONE, MOST) == b"1\n"


@given(st.binary(max_size=MOST), st.integers(1, 3))
def test_blocks_come_back(content: bytes, times: int) -> None:
    assert of_blocks(as_blocks(content) * times, MOST * 3) == content * times


def test_a_long_answer_is_several_blocks() -> None:
    content = b"0123456789" * 250_000
    assert of_blocks(as_blocks(content), len(content)) == content


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (ONE[:20], "ends inside"),
        (ONE[:-1], "damaged"),
        (b"\0" + ONE[1:], "damaged"),
        (b"SELECT 1, no block at all", "damaged"),
    ],
)
def test_what_is_no_block_is_said(body: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        of_blocks(body, MOST)


def test_a_block_may_not_swell_past_what_is_taken() -> None:
    with pytest.raises(TooLong):
        of_blocks(as_blocks(b"x" * (MOST + 1)), MOST)
    with pytest.raises(TooLong):
        of_blocks(as_blocks(b"x" * MOST) * 2, MOST)


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "lz4": lz4.frame.compress,
    "": bytes,
    "identity": bytes,
}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_body_is_read_in_each_encoding(name: str) -> None:
    assert decoded(ENCODERS[name](b"SELECT 1"), name, MOST) == b"SELECT 1"


@pytest.mark.parametrize("name", [name for name in ENCODERS if name not in ("", "identity")])
def test_a_body_may_not_swell_and_must_be_what_it_says(name: str) -> None:
    with pytest.raises(TooLong):
        decoded(ENCODERS[name](b"x" * (MOST + 1)), name, MOST)
    with pytest.raises(ValueError, match=f"is not {name}"):
        decoded(b"SELECT 1", name, MOST)
    with pytest.raises(ValueError, match="ends too early"):
        decoded(ENCODERS[name](b"SELECT 1 and more")[:-3], name, MOST)


def test_another_encoding_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="Content-Encoding br is not known here; send gzip, deflate, zstd, lz4"):
        decoded(struct.pack("<I", 1), "br", MOST)


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("gzip, deflate, br, zstd", "gzip"),
        ("br, lz4;q=0.5", "lz4"),
        ("zstd;q=0, gzip", "gzip"),
        ("identity", None),
        ("", None),
    ],
)
def test_an_answer_is_encoded_as_the_client_wishes(accepted: str, chosen: str | None) -> None:
    assert encoding_for(accepted) == chosen
    if chosen is not None:
        assert decoded(encoded(b"x" * 2_000, chosen), chosen, MOST) == b"x" * 2_000


@pytest.mark.parametrize("name", [name for name in ENCODERS if name not in ("", "identity")])
def test_a_body_of_several_members_is_read_to_its_end(name: str) -> None:
    encode = ENCODERS[name]
    assert decoded(encode(b"SELECT 1 ") + encode(b"") + encode(b"LIMIT 0"), name, MOST) == b"SELECT 1 LIMIT 0"
    with pytest.raises(TooLong):
        decoded(encode(b"x" * MOST) + encode(b"x"), name, MOST)
    assert decoded(encode(b"x" * (MOST - 1)) + encode(b"x"), name, MOST) == b"x" * MOST
    with pytest.raises(ValueError, match=f"is not {name}"):
        decoded(encode(b"SELECT 1") + b"LIMIT 0, which is in no member", name, MOST)
    with pytest.raises(ValueError, match="ends too early"):
        decoded(encode(b"SELECT 1 ") + encode(b"LIMIT 0 and more")[:-3], name, MOST)


def test_a_body_of_too_many_members_is_refused() -> None:
    with pytest.raises(ValueError, match="it has more than 100 parts"):
        decoded(gzip.compress(b"") * 101, "gzip", MOST)
