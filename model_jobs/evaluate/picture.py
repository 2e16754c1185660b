"""An evaluation as a picture: one panel a measure, one line an arm, a dot with its interval; SVG, no library needed.

A filled dot is over all candidates, a ring over songs of other anime alone. Numbers stand beside the dots, so that
nothing has to be read off an axis; each axis begins at 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Final
from xml.sax.saxutils import escape

from model_jobs.evaluate.figures import Evaluation, Figure, arms_of
from model_jobs.evaluate.metrics import Interval

# Colours that are told apart also without seeing red and green apart (after Okabe and Ito), dark enough on white.
_COLOURS: Final = {
    "mpnet": "#0072b2", "minilm": "#3a9bd1", "node2vec": "#d55e00", "tfidf": "#00875f", "popular": "#a8518a",
    "random": "#777777",
}  # fmt: skip
_NOT_SHOWN: Final = ("recall", "hit", "times")
_OTHER_COLOUR: Final = "#333333"
_ALL, _ELSEWHERE = "all", "other anime"

_COLUMNS: Final = 3
_WIDTH, _MARGIN, _GAP = 400, 28, 36
_HEAD, _TITLE, _LINE = 96, 46, 34
_LABEL, _NUMBERS, _CELL = 110, 72, 34


@dataclass(frozen=True)
class Panel:
    """One measure. `figures`: of all arms, over either candidates."""

    title: str
    measure: str
    figures: Sequence[Figure]

    @property
    def top(self) -> float:
        """The right end of the axis."""
        most = max(figure.interval.high for figure in self.figures)
        steps = (0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2, 5, 10, 20, 50, 100)
        return next((step for step in steps if step >= most), most)

    @property
    def height(self) -> int:
        """In pixels, axis and all."""
        return _TITLE + _LINE * len(arms_of(self.figures)) + 30


def panels_of(evaluation: Evaluation) -> list[Panel]:
    """The measures that are shown: of retrieval precision@10 and MRR, all others but multiples, overlaps apart."""
    shown = [each for each in evaluation.figures if not each.other_arm and not each.measure.startswith(_NOT_SHOWN)]
    panels = []
    for question, measure in dict.fromkeys((each.question, each.measure) for each in shown):
        figures = [each for each in shown if (each.question, each.measure) == (question, measure)]
        withheld = f", {figures[0].withheld} withheld" if figures[0].withheld else ""
        panels.append(Panel(question + withheld, measure, figures))
    return panels


def svg(evaluation: Evaluation, title: str) -> str:
    """The picture as a document that stands alone."""
    panels, overlaps = panels_of(evaluation), [each for each in evaluation.figures if each.other_arm]
    tops = [_HEAD]
    rows = [panels[start : start + _COLUMNS] for start in range(0, len(panels), _COLUMNS)]
    for row in rows:
        tops.append(tops[-1] + max(panel.height for panel in row) + _GAP)
    width = 2 * _MARGIN + _COLUMNS * _WIDTH + (_COLUMNS - 1) * _GAP
    body = list(_head(title, evaluation))
    for row, top in zip(rows, tops, strict=False):
        for column, panel in enumerate(row):
            body += _moved(_panel(panel), _MARGIN + column * (_WIDTH + _GAP), top)
    height = tops[-1]
    if overlaps:
        body += _moved(_matrix(overlaps), _MARGIN, height)
        height += _TITLE + _CELL * len(arms_of(overlaps)) + _GAP
    body += _moved(_notes(evaluation.notes), _MARGIN, height)
    return "\n".join([_opening(width, height + 20 * len(_lines(evaluation.notes)) + _MARGIN), *body, "</svg>\n"])


def write_picture(path: Path, evaluation: Evaluation, title: str) -> None:
    """Write `svg` to a file. Raises OSError where `path` cannot be written."""
    path.write_text(svg(evaluation, title), encoding="utf-8")


def _opening(width: int, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="13" fill="#222">\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    )


def _head(title: str, evaluation: Evaluation) -> Iterator[str]:
    about = evaluation.about
    yield _text(_MARGIN, 36, title, size=20, weight=600)
    said = f"{about['songs']:,} songs, {about['listeners']} listeners, up to {about['queries']:,} songs asked about"
    yield _text(_MARGIN, 58, f"{said}; lines are 95 % bootstrap intervals. ", colour="#555")
    yield '<circle cx="34" cy="75" r="4.5" fill="#555"/>' + _text(46, 79, "all candidates", colour="#555")
    ring = '<circle cx="156" cy="75" r="4" fill="#fff" stroke="#555" stroke-width="1.6"/>'
    yield ring + _text(168, 79, "songs of the same anime left out", colour="#555")


def _moved(lines: Iterator[str], x: int, y: int) -> list[str]:
    return [f'<g transform="translate({x},{y})">', *lines, "</g>"]


def _panel(panel: Panel) -> Iterator[str]:
    arms, left, right = arms_of(panel.figures), _LABEL, _WIDTH - _NUMBERS
    yield _text(0, 14, panel.title, size=13, weight=600)
    yield _text(0, 32, panel.measure, colour="#555")
    bottom = _TITLE + _LINE * len(arms)
    for share in (0, 0.5, 1):
        x = left + share * (right - left)
        yield f'<line x1="{x}" y1="{_TITLE}" x2="{x}" y2="{bottom}" stroke="#e3e3e3"/>'
        yield _text(x, bottom + 16, f"{share * panel.top:g}", colour="#777", anchor="middle", size=11)
    for number, arm in enumerate(arms):
        y = _TITLE + _LINE * number + _LINE // 2
        yield _text(_LABEL - 10, y + 4, arm, colour=_colour(arm), anchor="end", weight=600)
        yield from _marks([each for each in panel.figures if each.arm == arm], y, panel.top)


def _marks(figures: Sequence[Figure], y: int, top: float) -> Iterator[str]:
    """The dots of one arm, one below the other where there are two."""
    for number, figure in enumerate(figures):
        at = y + (16 * number - 8 if len(figures) > 1 else 0)
        low, value, high = (_x(each, top) for each in _ends(figure.interval))
        colour = _colour(figure.arm)
        fill = colour if figure.candidates == _ALL else "#fff"
        yield f'<line x1="{low:.1f}" y1="{at}" x2="{high:.1f}" y2="{at}" stroke="{colour}" stroke-width="2"/>'
        yield f'<circle cx="{value:.1f}" cy="{at}" r="4" fill="{fill}" stroke="{colour}" stroke-width="1.6"/>'
        yield _text(_WIDTH - _NUMBERS + 14, at + 4, _number(figure.interval.value), size=12)


def _matrix(figures: Sequence[Figure]) -> Iterator[str]:
    """How much two arms' lists have in common: a square for each pair, darker for more."""
    arms = arms_of(figures)
    yield _text(0, 14, figures[0].question, weight=600)
    yield _text(0, 32, figures[0].measure, colour="#555")
    for number, arm in enumerate(arms[1:]):
        yield _text(_LABEL - 10, _TITLE + _CELL * number + 22, arm, colour=_colour(arm), anchor="end", weight=600)
    for number, arm in enumerate(arms[:-1]):
        x, y = _LABEL + 72 * number + 35, _TITLE + _CELL * (len(arms) - 1) + 18
        yield _text(x, y, arm, colour=_colour(arm), anchor="middle", weight=600)
    for figure in figures:
        column, row = sorted((arms.index(figure.arm), arms.index(figure.other_arm)))
        x, y, share = _LABEL + 72 * column, _TITLE + _CELL * (row - 1), figure.interval.value
        yield f'<rect x="{x}" y="{y}" width="70" height="32" fill="#0072b2" fill-opacity="{0.06 + 0.9 * share:.3f}"/>'
        ink = "#fff" if share > 0.5 else "#222"
        yield _text(x + 35, y + 21, _number(share), colour=ink, anchor="middle", size=12)


def _notes(notes: Sequence[str]) -> Iterator[str]:
    for number, line in enumerate(_lines(notes)):
        yield _text(0, 14 + 20 * number, line, colour="#555", size=12)


def _lines(notes: Sequence[str]) -> list[str]:
    return [line for note in notes for line in wrap(note, 190, initial_indent="- ", subsequent_indent="  ")]


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.low, interval.value, interval.high


def _x(value: float, top: float) -> float:
    return _LABEL + max(0.0, min(1.0, value / top)) * (_WIDTH - _NUMBERS - _LABEL)


def _number(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _colour(arm: str) -> str:
    return _COLOURS.get(arm.partition(":")[0], _OTHER_COLOUR)


def _text(
    x: float, y: float, text: str, *, colour: str = "#222", anchor: str = "start", size: int = 13, weight: int = 400
) -> str:
    style = f'fill="{colour}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(text)}</text>'
