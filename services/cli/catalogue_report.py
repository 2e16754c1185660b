"""The summary of an import: the counts, and the lines of the file that had problems."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from collectors.importing import Plan
from collectors.sources import Found

_PLACES_SAID: Final = 8
_DOUBTFUL: Final = "; `animusic catalogue doubtful` lists all there are"


def print_summary(found: Found, plan: Plan, listed: Path | None) -> None:
    """The table on standard output. `listed`: where every problem is written down, None when there is none."""
    rows = [line for line, whole in _problems(found) if whole]
    cells = [line for line, whole in _problems(found) if not whole]
    for name, number, what in (
        ("read", found.rows, "rows"),
        ("songs", len(found.songs), "in these rows"),
        ("duplicates merged", found.merged_rows, "rows into the song that another row has"),
        ("rejected", len(rows), "rows" + _where(rows, listed)),
        ("left out", len(cells), "cells" + _where(cells, listed)),
        ("new", plan.new, "songs"),
        ("changed", plan.changed, "songs"),
        ("unchanged", plan.unchanged, "songs"),
        ("became one", len(plan.merged), "songs with another; their ids are its aliases"),
        ("in doubt", plan.doubtful, "pairs that may be one song" + (_DOUBTFUL if plan.doubtful else "")),
        ("withdrawn", plan.withdrawn, "songs"),
    ):
        print(f"{name:<18}{number:>9,} {what}")
    print(f"{'catalogue digest':<18}{plan.digest}")


def _problems(found: Found) -> Iterable[tuple[int, bool]]:
    return ((problem.line, problem.whole_row) for problem in found.problems)


def _where(lines: Sequence[int], listed: Path | None) -> str:
    return f" ({places(lines)}), all with reasons in {listed}" if lines else ""


def places(lines: Iterable[int]) -> str:
    """The first of these lines, in order, runs of them as `7-9`: `lines 3, 7-9, 12 …`."""
    ordered = sorted(set(lines))
    starts = [ordered[0], *(after for before, after in pairwise(ordered) if after > before + 1)]
    ends = [*(before for before, after in pairwise(ordered) if after > before + 1), ordered[-1]]
    runs = [str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True)]
    word = "line " if len(ordered) == 1 else "lines "
    return word + ", ".join(runs[:_PLACES_SAID]) + (" …" if len(runs) > _PLACES_SAID else "")
