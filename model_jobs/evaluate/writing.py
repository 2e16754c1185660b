"""An evaluation as files: CSV with one figure a row, JSON with what was evaluated and what was lacking beside them."""

import csv
from pathlib import Path

import orjson

from model_jobs.evaluate.figures import COLUMNS, Evaluation


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
