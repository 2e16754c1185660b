"""An evaluation as a picture: one panel a measure, one line an arm, a dot with its interval.

A filled dot is over all candidates, a ring over songs of other anime alone. Numbers are beside the dots, so that
nothing has to be read off an axis; each axis begins at 0. One column of panels, so that it is readable on a telephone.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from model_jobs.evaluate.figures import Evaluation, Figure, arms_of

if TYPE_CHECKING:
    import matplotlib.figure
    from matplotlib.axes import Axes

# Colours that are told apart also without seeing red and green apart (after Okabe and Ito), dark enough on white.
_COLOURS: Final = {
    "mpnet": "#0072b2", "minilm": "#3a9bd1", "node2vec": "#d55e00", "tfidf": "#00875f", "popular": "#a8518a",
    "random": "#777777",
}  # fmt: skip
_NOT_SHOWN: Final = ("recall", "hit", "times")
_GREY: Final = "#555555"
# In inches; a note's line has so many characters; texts begin at so much of the width.
_WIDTH, _LINE, _NOTE, _TITLE, _HEAD = 5.0, 0.36, 0.15, 0.75, 0.75
_NOTE_WIDTH: Final = 72
_LEFT: Final = 0.01
# Text stays text, and the same evaluation gives the same drawing.
_STYLE: Final[Any] = {"font.size": 9, "axes.titlesize": 9, "svg.fonttype": "none", "svg.hashsalt": "animusic"}


def check_drawable() -> None:
    """Raises RuntimeError where there is no matplotlib, with what to do."""
    if find_spec("matplotlib") is None:
        raise RuntimeError("there is no matplotlib here to draw with; `make evaluation` installs it")


def write_picture(path: Path, evaluation: Evaluation, title: str) -> None:
    """Draw to a file, in the format of its ending: svg, png, pdf.

    Raises OSError where `path` cannot be written, ValueError for an ending that matplotlib does not know.
    """
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        metadata = {"Date": None} if path.suffix == ".svg" else None
        drawn(evaluation, title).savefig(path, dpi=144, metadata=metadata)


def drawn(evaluation: Evaluation, title: str) -> "matplotlib.figure.Figure":
    """The picture: the panels from top to bottom, how much the arms' lists overlap, the notes."""
    from matplotlib.figure import Figure as Drawing

    panels, overlaps = panels_of(evaluation), [each for each in evaluation.figures if each.other_arm]
    notes = [
        line
        for note in evaluation.notes
        for line in wrap(note, _NOTE_WIDTH, initial_indent="- ", subsequent_indent="   ")
    ]
    heights = [_TITLE + _LINE * len(arms_of(figures)) for figures in (*panels, *([overlaps] if overlaps else []))]
    foot = _NOTE * (len(notes) + 1)
    height = _HEAD + sum(heights) + foot
    drawing = Drawing(figsize=(_WIDTH, height), facecolor="white")
    drawing.set_layout_engine("constrained", rect=(0, foot / height, 1, sum(heights) / height))
    about = evaluation.about
    caption = (
        f"{about['songs']:,} songs, {about['listeners']} listeners, up to {about['queries']:,} songs asked about\n"
        "lines: 95 % bootstrap intervals   ● all candidates   ○ songs of the same anime left out"
    )
    drawing.text(_LEFT, 1 - 0.1 / height, title, va="top", size=11, weight="bold")
    drawing.text(_LEFT, 1 - 0.35 / height, caption, va="top", color=_GREY, size=8, linespacing=1.5)
    drawing.text(_LEFT, foot / height, "\n".join(notes), va="top", color=_GREY, size=8)
    every = drawing.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, panel in zip(every, panels, strict=False):
        _draw_panel(axes, panel)
    if overlaps:
        _draw_overlaps(every[-1], overlaps)
    return drawing


def panels_of(evaluation: Evaluation) -> list[list[Figure]]:
    """The figures by measure: of retrieval precision@10 and MRR, all others but multiples; overlaps apart."""
    shown = [each for each in evaluation.figures if not each.other_arm and not each.measure.startswith(_NOT_SHOWN)]
    measures = dict.fromkeys((each.question, each.measure) for each in shown)
    return [[each for each in shown if (each.question, each.measure) == measure] for measure in measures]


def _draw_panel(axes: "Axes", panel: Sequence[Figure]) -> None:
    arms = arms_of(panel)
    withheld = f", {panel[0].withheld} withheld" if panel[0].withheld else ""
    _name(axes, f"{panel[0].question}{withheld}", panel[0].measure)
    for row, arm in enumerate(arms):
        figures = [each for each in panel if each.arm == arm]
        for figure, at in zip(figures, (row - 0.2, row + 0.2) if len(figures) > 1 else (row,), strict=True):
            _draw_interval(axes, figure, at)
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.grid(axis="x", color="#e3e3e3")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, labelsize=8, labelcolor=_GREY)
    _name_arms(axes.yaxis, arms)


def _draw_interval(axes: "Axes", figure: Figure, at: float) -> None:
    i, colour = figure.interval, _colour(figure.arm)
    inside = colour if figure.candidates == "all" else "white"
    # A resample's interval may lie beside the value by a rounding.
    reach = [[max(0.0, i.value - i.low)], [max(0.0, i.high - i.value)]]
    axes.errorbar(
        i.value, at, xerr=reach, fmt="o", color=colour, markerfacecolor=inside, markersize=5, linewidth=1.5,
        clip_on=False,
    )  # fmt: skip
    axes.text(1.02, at, _number(i.value), transform=axes.get_yaxis_transform(), va="center", size=8)


def _draw_overlaps(axes: "Axes", figures: Sequence[Figure]) -> None:
    """How much two arms' lists have in common: a square for each pair, darker for more."""
    arms = arms_of(figures)
    shares = np.full((len(arms), len(arms)), np.nan)
    for figure in figures:
        column, row = sorted((arms.index(figure.arm), arms.index(figure.other_arm)))
        share = shares[row, column] = figure.interval.value
        ink = "white" if share > 0.5 else "black"
        axes.text(column, row, _number(share), color=ink, ha="center", va="center", size=8)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    _name(axes, figures[0].question, figures[0].measure)
    axes.set_xlim(-0.5, len(arms) - 1.5)
    axes.set_ylim(len(arms) - 0.5, 0.5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    _name_arms(axes.xaxis, arms[:-1])
    _name_arms(axes.yaxis, arms[1:], first=1)


def _name(axes: "Axes", question: str, measure: str) -> None:
    # Above the arms' names, not only above the axis.
    axes.set_title(f"{question}\n{measure}", loc="left", weight="bold", x=-0.19)


def _name_arms(axis: Any, arms: Sequence[str], first: int = 0) -> None:
    axis.set_ticks(range(first, first + len(arms)), labels=arms)
    for label, arm in zip(axis.get_ticklabels(), arms, strict=True):
        label.set(color=_colour(arm), weight="bold", size=9)


def _number(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _colour(arm: str) -> str:
    return _COLOURS.get(arm.partition(":")[0], "#333333")
