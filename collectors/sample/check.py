"""Compare the sample catalogue with a reference in the same columns.

    python -m collectors.sample.check REFERENCE.csv.gz

prints how many of the sample's (MAL id, normalised title) pairs the reference has, lists the others, and
exits 0 at or above the required share, 1 below it, 2 when a file cannot be read.
"""

import csv
import gzip
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contracts.catalogue import normalised

SAMPLE = Path(__file__).with_name("songs.csv")
REQUIRED_SHARE = 0.95

Pair = tuple[int, str]


@dataclass(frozen=True)
class Comparison:
    """`found` and `missing` map each distinct pair of the sample to its title as the sample spells it."""

    found: dict[Pair, str]
    missing: dict[Pair, str]

    @property
    def total(self) -> int:
        return len(self.found) + len(self.missing)

    @property
    def share(self) -> float:
        """Found pairs over all pairs, 0 to 1; an empty sample has none."""
        return len(self.found) / self.total if self.total else 0.0


def read_pairs(path: Path) -> dict[Pair, str]:
    """Distinct (MAL id, normalised title) pairs of a CSV, plain or .gz; rows without a MAL id have no pair.

    Raises OSError or EOFError when the file cannot be read, ValueError when it lacks the columns `song` and
    `MAL_ID` or a MAL id is no number.
    """
    pairs: dict[Pair, str] = {}
    for row in _rows(path):
        if row["MAL_ID"]:
            pairs.setdefault((int(float(row["MAL_ID"])), normalised(row["song"])), row["song"])
    return pairs


def compare(sample: Path, reference: Path) -> Comparison:
    """Split the sample's pairs by whether the reference has them; raises what `read_pairs` raises."""
    known = read_pairs(reference)
    pairs = read_pairs(sample)
    return Comparison(
        found={pair: title for pair, title in pairs.items() if pair in known},
        missing={pair: title for pair, title in pairs.items() if pair not in known},
    )


def _rows(path: Path) -> Iterator[dict[str, str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        absent = {"song", "MAL_ID"} - set(reader.fieldnames or ())
        if absent:
            names = ", ".join(sorted(absent))
            raise ValueError(f"{path} has no column {names}")
        yield from reader


def main(arguments: list[str]) -> int:
    """Exit status: 0 enough pairs found, 1 too few, 2 wrong call or unreadable file."""
    if len(arguments) != 1:
        print("usage: python -m collectors.sample.check REFERENCE.csv[.gz]", file=sys.stderr)
        return 2
    try:
        result = compare(SAMPLE, Path(arguments[0]))
    except (OSError, EOFError, ValueError) as error:
        print(f"cannot compare: {error}; give a readable CSV in AniMusic's columns", file=sys.stderr)
        return 2
    found, missing = len(result.found), len(result.missing)
    print(f"found {found} of {result.total} pairs ({result.share:.1%}), not found {missing}")
    for (mal_id, _), title in sorted(result.missing.items()):
        print(f"not found: {mal_id} {title}")
    return 0 if result.share >= REQUIRED_SHARE else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
