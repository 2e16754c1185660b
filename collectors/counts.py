"""The one parser of counts of people, as pages and tables write them: `938,066`, `9.7K`, `1.2M回視聴`, `12,34,567`.

A count has no fraction. So a separator with exactly three digits behind it groups thousands, whichever it is, and
anything else behind a separator is a fraction, which needs a word for thousands or millions to be a count. Where both
readings are possible (`1,234K`) or none is (`1.2`), there is no number: the cell is left out rather than guessed.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

_SHOWN: Final = 60
# What people write in place of the space between thousands, and of the apostrophe.
_SPACES: Final = "\t\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_APOSTROPHES: Final = "\u2019\u2018\u02bc"
_FULL_WIDTH: Final = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_FOLDED: Final = {
    **dict.fromkeys(map(ord, _SPACES), " "), **dict.fromkeys(map(ord, _APOSTROPHES), "'"), **_FULL_WIDTH,
}  # fmt: skip

_SCALES: Final[Mapping[str, int]] = {
    "k": 10**3, "m": 10**6, "b": 10**9, "bn": 10**9, "tsd.": 10**3, "tsd": 10**3, "mio.": 10**6, "mio": 10**6,
    "mrd.": 10**9, "mrd": 10**9, "thousand": 10**3, "million": 10**6, "lakh": 10**5, "crore": 10**7,
    "千": 10**3, "천": 10**3, "万": 10**4, "萬": 10**4, "만": 10**4, "億": 10**8, "亿": 10**8, "억": 10**8,
}  # fmt: skip
# What is counted. An unknown word may change the number (`mil` is a thousand in Spanish, a million elsewhere).
_UNITS: Final = (
    "回視聴", "回再生", "回", "次观看", "次觀看", "次", "人", "件",
    "views", "view", "likes", "like", "plays", "aufrufe", "aufruf", "vues", "vue", "visualizaciones", "visualizações",
    "visualizzazioni", "просмотров",
)  # fmt: skip
_LEADS: Final = ("視聴回数", "再生回数", "高評価")
_NONE: Final = frozenset({"no views", "no likes"})


def _any_of(words: Mapping[str, int] | tuple[str, ...]) -> str:
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


_SHAPE: Final = re.compile(
    rf"(?:(?:{_any_of(_LEADS)})[ :]*)?(?P<number>[\d.,' ]*\d) *(?P<scale>{_any_of(_SCALES)})?"
    rf"(?: *(?:{_any_of(_UNITS)}))?"
)
_GROUPED: Final = re.compile(r"[1-9]\d{0,2}(?P<by>[.,' ])\d{3}(?:(?P=by)\d{3})*")
_INDIAN: Final = re.compile(r"[1-9]\d?(?:,\d\d)+,\d{3}")
_POINT: Final = re.compile(r"(?P<whole>.*\d)(?P<point>[.,])(?P<fraction>\d+)")
_EAST_ASIAN: Final = re.compile(
    r"(?:(?P<e8>\d{1,4})[億亿억] *)(?:(?P<e4>\d{1,4})[万萬만] *)?(?P<e0>\d{1,4})?"
    r"|(?P<only_e4>\d{1,4})[万萬만] *(?P<rest>\d{1,4})"
)


def parse_count(text: str) -> int:
    """The number that a text says. Raises ValueError with a sentence when it says none, or may say two."""
    folded = "".join(map(_digit, text)).translate(_FOLDED).strip().lower()
    if folded in _NONE:
        return 0
    found = _of_shape(folded) if len(folded) <= _SHOWN else None
    if found is None:
        raise ValueError(f"{shortened(text)} is not a count that can be read in one way only, like 938,066 or 9.7K")
    return found


def _digit(char: str) -> str:
    """A decimal digit of any script as its ASCII one. A superscript is none."""
    return str(int(char)) if char.isdecimal() else char


def _of_shape(folded: str) -> int | None:
    shape = _SHAPE.fullmatch(folded)
    if shape is None:
        return _east_asian(folded)
    number, scale = shape["number"], shape["scale"]
    return _plain(number) if scale is None else _scaled(number, _SCALES[scale])


def _plain(number: str) -> int | None:
    """A number without a word for thousands: whole, whatever separates its digits."""
    whole = _whole(number)
    if whole is not None:
        return whole
    parts = _POINT.fullmatch(number)
    if parts is None or parts["fraction"] not in ("0", "00"):
        return None
    return None if parts["point"] in parts["whole"] else _whole(parts["whole"])


def _whole(number: str) -> int | None:
    if number.isdecimal() or _GROUPED.fullmatch(number) or _INDIAN.fullmatch(number):
        return int(re.sub(r"\D", "", number))
    return None


def _scaled(number: str, scale: int) -> int | None:
    """A number with such a word. `1,234K` may be 1,234 or 1,234,000, `1,234.5K` only one."""
    if number.isdecimal():
        return int(number) * scale
    if _GROUPED.fullmatch(number) or _INDIAN.fullmatch(number):
        separators = re.sub(r"\d", "", number)
        return int(re.sub(r"\D", "", number)) * scale if len(separators) > 1 or separators in " '" else None
    parts = _POINT.fullmatch(number)
    whole = None if parts is None or parts["point"] in parts["whole"] else _whole(parts["whole"])
    if parts is None or whole is None:
        return None
    value = Decimal(f"{whole}.{parts['fraction']}") * scale
    return int(value) if value == value.to_integral_value() else None


def _east_asian(folded: str) -> int | None:
    """`1億2345万` and the like, with the unit behind it."""
    bare = re.sub(rf" *(?:{_any_of(_UNITS)})$", "", folded)
    match = _EAST_ASIAN.fullmatch(bare)
    if match is None:
        return None
    parts = {name: int(digits or 0) for name, digits in match.groupdict().items()}
    return parts["e8"] * 10**8 + (parts["e4"] + parts["only_e4"]) * 10**4 + parts["e0"] + parts["rest"]


def shortened(text: str) -> str:
    """A text as a sentence quotes it."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")
