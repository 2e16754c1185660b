"""A file is decoded whole and without loss, or it stops with a sentence that names the encoding it looks like."""

import codecs
import gzip
from pathlib import Path

import pytest

from collectors.csv_text import read_text

JAPANESE = "song,anime,vocals\n光,アニメ,宇多田ヒカル\n海,アニメ,林原めぐみ\n"
FRENCH = "song,anime,vocals\nL'été,Amélie,Beyoncé\nNaïve,Amélie,Zoë\n"
CHINESE = "song,anime,vocals\n青花瓷,动画,周杰伦\n"


def said(path: Path, data: bytes, encoding: str | None = None) -> str:
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"othing was read of the file|knows no encoding|workbook") as refused:
        read_text(path, encoding)
    return str(refused.value)


@pytest.mark.parametrize(
    "data",
    [
        JAPANESE.encode(),
        codecs.BOM_UTF8 + JAPANESE.encode(),
        JAPANESE.encode("utf-16"),
        codecs.BOM_UTF16_BE + JAPANESE.encode("utf-16-be"),
        codecs.BOM_UTF16_LE + JAPANESE.encode("utf-16-le"),
        JAPANESE.encode("utf-32"),
    ],
)
def test_utf_8_and_what_a_byte_order_mark_tells_is_read(tmp_path: Path, data: bytes) -> None:
    for content in (data, gzip.compress(data)):
        (tmp_path / "a.csv").write_bytes(content)
        assert read_text(tmp_path / "a.csv") == JAPANESE


@pytest.mark.parametrize(
    ("text", "encoding", "named"),
    [
        (JAPANESE, "cp932", "cp932"),
        (JAPANESE, "euc_jp", "euc_jp"),
        (JAPANESE, "iso2022_jp", "iso2022_jp"),
        (JAPANESE, "utf-16-le", "utf-16-le"),
        (JAPANESE, "utf-16-be", "utf-16-be"),
        (FRENCH, "latin-1", "cp1252"),
        (FRENCH, "cp1252", "cp1252"),
        (CHINESE, "gb18030", "gb18030"),
        ("song,anime\nКино,Группа крови\n", "cp1251", "cp1251"),
        # One name in a large file of plain letters, behind what is looked at first.
        ("song,anime\n" + "Song,Anime\n" * 20_000 + "Motörhead,Anime\n", "cp1252", "cp1252"),
    ],
)
def test_another_encoding_stops_the_import_and_is_named(tmp_path: Path, text: str, encoding: str, named: str) -> None:
    sentence = said(tmp_path / "a.csv", text.encode(encoding))
    assert "is not UTF-8" in sentence
    assert f"looks like {named}" in sentence and f"pass `--encoding {named}`" in sentence
    assert read_text(tmp_path / "a.csv", encoding) == text


def test_damaged_utf_8_is_not_taken_for_another_encoding(tmp_path: Path) -> None:
    lines = [f"歌{number},アニメ\n".encode() for number in range(40)]
    lines[6] = b"bad\xff,Anime\n"
    sentence = said(tmp_path / "a.csv", b"song,anime\n" + b"".join(lines))
    assert "is UTF-8, but not in line 8: repair them" in sentence and "--encoding" not in sentence


@pytest.mark.parametrize("encoding", ["latin-1", "cp932", "cp1252"])
def test_utf_8_is_not_read_as_something_else(tmp_path: Path, encoding: str) -> None:
    assert f"is UTF-8, and not {encoding}: leave" in said(tmp_path / "a.csv", JAPANESE.encode(), encoding)


@pytest.mark.parametrize("encoding", ["nonsense", "hex", "rot13", "gzip", ""])
def test_an_encoding_that_is_none_is_named(tmp_path: Path, encoding: str) -> None:
    assert f"no encoding of text named {encoding!r}" in said(tmp_path / "a.csv", b"song,anime\n", encoding)


def test_the_wrong_encoding_says_where(tmp_path: Path) -> None:
    sentence = said(tmp_path / "a.csv", JAPANESE.encode("cp932"), "ascii")
    assert "is not ascii (it looks like cp932)" in sentence and "Line 2 shows it first" in sentence


def test_what_is_packed_damaged_or_no_text_says_so(tmp_path: Path) -> None:
    packed = gzip.compress(b"song,anime\n" + bytes(str(list(range(9_000))), "ascii"), mtime=0)
    assert "is damaged" in said(tmp_path / "a.csv", packed[: len(packed) // 2])
    assert "is damaged" in said(tmp_path / "a.csv", packed[:-6] + b"xxxxxx")
    assert "Excel workbook" in said(tmp_path / "a.csv", b"PK\x03\x04rest")
    assert "`--encoding NAME`" in said(tmp_path / "a.csv", bytes(range(128, 256)) * 20)
