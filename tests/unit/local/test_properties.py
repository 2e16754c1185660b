"""Java's properties format, sign by sign."""

import pytest

from services.local.processes.java import properties


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("Müller", "M\\u00fcller"),
        ("\U0001f3b5", "\\ud83c\\udfb5"),
        ("a\\b", "a\\\\b"),
        ("C:=#!", "C\\:\\=\\#\\!"),
        ("  a b ", "\\ \\ a b "),
        ("a\tb\nc", "a\\tb\\nc"),
        ("\x7f\x01", "\\u007f\\u0001"),
        ("", ""),
    ],
)
def test_a_value_is_written_as_java_writes_it(value: str, written: str) -> None:
    assert properties({"name": value}) == f"name={written}\n"


def test_a_name_keeps_its_spaces() -> None:
    assert properties({"a b:c": "d"}) == "a\\ b\\:c=d\n"


def test_what_is_no_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        properties({"name": "M\udcfcller"})
