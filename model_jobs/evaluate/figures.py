"""The result of an evaluation: figures with intervals and notes on what was not measured; as CSV and JSON."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from contracts.arms import PAPER_ORDER
from model_jobs.evaluate.metrics import Interval

Candidates = Literal["all", "other anime"]
COLUMNS: Final = (
    "question", "withheld", "candidates", "measure", "arm", "other_arm", "value", "low", "high", "n", "interval",
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        question: what was asked, for people; figures of one question belong into one table.
        withheld: the field that the models were built without; "" where they have all fields.
        candidates: what could be found: all songs but those liked and those of their titles, or only songs of other
            anime among them.
        other_arm: the second arm of an overlap, else "".
        method: of the interval, `percentile` or `normal` bootstrap.
    """

    question: str
    withheld: str
    candidates: Candidates
    measure: str
    arm: str
    interval: Interval
    other_arm: str = ""
    method: Literal["percentile", "normal"] = "percentile"

    def row(self) -> dict[str, Any]:
        """By `COLUMNS`."""
        i = self.interval
        numbers = i.value, i.low, i.high, i.n, f"95% bootstrap, {self.method}"
        names = self.question, self.withheld, self.candidates, self.measure, self.arm, self.other_arm
        return dict(zip(COLUMNS, (*names, *numbers), strict=True))


@dataclass
class Evaluation:
    """Figures in the order in which they were asked for.

    Attributes:
        about: what was evaluated: catalogue, songs, seed, parameters of the models …
        notes: what the catalogue or this machine lacks, and how to read what there is; a sentence each.
    """

    about: Mapping[str, Any]
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def tables(self) -> Iterator[tuple[str, Candidates, list[Figure]]]:
        """The figures by (question, candidates), each group once, in order."""
        for key in dict.fromkeys((each.question, each.candidates) for each in self.figures):
            yield *key, [each for each in self.figures if (each.question, each.candidates) == key]

    def find(self, measure: str, arm: str, withheld: str, candidates: Candidates = "all") -> Interval:
        """One figure's interval. Raises LookupError where it was not measured."""
        for each in self.figures:
            if (each.measure, each.arm, each.withheld, each.candidates) == (measure, arm, withheld, candidates):
                return each.interval
        raise LookupError(f"{measure} of {arm} without {withheld or 'anything withheld'} was not measured")


def arms_of(figures: Sequence[Figure]) -> list[str]:
    """The arms in the order of the paper's playlist, those that it does not have first: chance is always the last."""
    return sorted({each.arm for each in figures} | {each.other_arm for each in figures} - {""}, key=_order)


def _order(arm: str) -> tuple[int, str]:
    name = arm.partition(":")[0]
    return (PAPER_ORDER.index(name) if name in PAPER_ORDER else -1), arm


def write_csv(path: Path, evaluation: Evaluation) -> None:
    """One row a figure, columns as `figures.COLUMNS`, numbers in full. Raises OSError where it cannot be."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(figure.row() for figure in evaluation.figures)


def as_json(evaluation: Evaluation) -> str:
    """`about`, `figures` (one object a CSV row) and `notes`, indented."""
    content = {
        "about": dict(evaluation.about),
        "figures": [figure.row() for figure in evaluation.figures],
        "notes": evaluation.notes,
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()
