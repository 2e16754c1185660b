"""Compressed bodies: HTTP's encodings, and ClickHouse's own blocks (`compress=1`, `decompress=1`).

A block is a checksum (CityHash 1.0.2, 16 bytes), a method (1 byte), the block's size with these 9 bytes, the size of
its content (4 bytes each, little-endian), and the content.
"""

import gzip
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import lz4.block
import lz4.frame
from clickhouse_cityhash.cityhash import CityHash128

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_CHECKSUM: Final = 16
_HEADER: Final = struct.Struct("<BII")
_PLAIN, _LZ4, _ZSTD = 0x02, 0x82, 0x90
_BLOCK_BYTES: Final = 1 << 20
# Below this, compressing is not worth its CPU.
_WORTH_BYTES: Final = 1_000
# Members (gzip) or frames of one body: each costs a copy of what follows it.
_MOST_MEMBERS: Final = 100


class TooLong(ValueError):
    """A body that decompresses to more than is taken."""


def decoded(body: bytes, encoding: str, most_bytes: int) -> bytes:
    """A body without its Content-Encoding.

    Raises TooLong, and ValueError with a sentence for an encoding that is not known here or a body that is not
    encoded so.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in _DECODERS:
        raise ValueError(
            f"the Content-Encoding {encoding} is not known here; send {', '.join(_DECODERS)}, or plain text"
        )
    try:
        text = _DECODERS[name](body, most_bytes + 1)
    except (zlib.error, zstd.ZstdError, RuntimeError, EOFError) as error:
        raise ValueError(f"the body is not {name}, which its Content-Encoding says: {error}") from error
    if len(text) > most_bytes:
        raise TooLong
    return text


def encoding_for(accepted: str) -> str | None:
    """The encoding of an answer for an Accept-Encoding header: the first of the client's list that is known here."""
    for asked in accepted.split(","):
        name, _, quality = asked.strip().lower().partition(";")
        if name in _ENCODERS and quality.replace(" ", "") not in ("q=0", "q=0.0"):
            return name
    return None


def encoded(body: bytes, encoding: str) -> bytes:
    """A body in one of the encodings that `encoding_for` names."""
    return _ENCODERS[encoding](body)


def worth_encoding(body: bytes) -> bool:
    """Whether a body is long enough."""
    return len(body) >= _WORTH_BYTES


def as_blocks(body: bytes) -> bytes:
    """A body in ClickHouse's blocks, compressed with LZ4: what `compress=1` asks for."""
    return b"".join(_block(body[at : at + _BLOCK_BYTES]) for at in range(0, len(body), _BLOCK_BYTES))


def of_blocks(body: bytes, most_bytes: int) -> bytes:
    """The content of ClickHouse's blocks: what `decompress=1` announces. Raises TooLong, ValueError with a sentence."""
    text = bytearray()
    for content in _contents(memoryview(body), most_bytes):
        text += content
        if len(text) > most_bytes:
            raise TooLong
    return bytes(text)


def _block(content: bytes) -> bytes:
    packed: bytes = lz4.block.compress(content, store_size=False)
    rest = _HEADER.pack(_LZ4, _HEADER.size + len(packed), len(content)) + packed
    return _checksum(rest) + rest


def _contents(body: memoryview, most_bytes: int) -> Iterator[bytes]:
    while body:
        if len(body) < _CHECKSUM + _HEADER.size:
            raise ValueError("the body ends inside of a compressed block; decompress=1 says that it holds whole ones")
        method, size, content_size = _HEADER.unpack_from(body, _CHECKSUM)
        rest = bytes(body[_CHECKSUM : _CHECKSUM + size])
        if size < _HEADER.size or len(rest) < size or _checksum(rest) != bytes(body[:_CHECKSUM]):
            raise ValueError("a compressed block of the body is damaged, or is none; decompress=1 says that it is one")
        if content_size > most_bytes:
            raise TooLong
        yield _unpacked(method, rest[_HEADER.size :], content_size)
        body = body[_CHECKSUM + size :]


def _unpacked(method: int, packed: bytes, size: int) -> bytes:
    if method == _PLAIN:
        return packed
    try:
        if method == _LZ4:
            content: bytes = lz4.block.decompress(packed, uncompressed_size=size)
            return content
        if method == _ZSTD:
            return zstd.ZstdDecompressor().decompress(packed, size)
    except (lz4.block.LZ4BlockError, zstd.ZstdError) as error:
        raise ValueError(f"a compressed block of the body cannot be read: {error}") from error
    raise ValueError(
        f"a block of the body is compressed by method 0x{method:02x}; LZ4 (0x82) and ZSTD (0x90) are known"
    )


def _checksum(data: bytes) -> bytes:
    found: int = CityHash128(data)
    return struct.pack("<QQ", found >> 64, found & 0xFFFF_FFFF_FFFF_FFFF)


def _read_by(make: Callable[[], Any]) -> Callable[[bytes, int], bytes]:
    """A decoder of whole bodies, of one member or several: of a part it would make a part of a statement."""

    def read(body: bytes, most: int) -> bytes:
        text = b""
        for _ in range(_MOST_MEMBERS):
            decompressor = make()
            part: bytes = decompressor.decompress(body, most - len(text))
            text += part
            if len(text) >= most:
                return text
            if not decompressor.eof:
                raise EOFError("it ends too early")
            body = decompressor.unused_data
            if not body:
                return text
        raise EOFError(f"it has more than {_MOST_MEMBERS} parts")

    return read


# 32: a gzip or a zlib header, for `deflate` means either.
_gunzip: Final = _read_by(lambda: zlib.decompressobj(zlib.MAX_WBITS | 32))


_DECODERS: Final[Mapping[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _gunzip,
    "deflate": _gunzip,
    "zstd": _read_by(zstd.ZstdDecompressor),
    "lz4": _read_by(lz4.frame.LZ4FrameDecompressor),
}
_ENCODERS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "gzip": lambda body: gzip.compress(body, 3),
    "deflate": lambda body: zlib.compress(body, 3),
    "zstd": zstd.compress,
    "lz4": lz4.frame.compress,
}
