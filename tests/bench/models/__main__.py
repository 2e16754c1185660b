"""`python -m tests.bench.models [part …] [--quick] [--write] [--scale 1,3,10]`: measure the builds of models.

With `--write` the sections that ran replace their like in docs/benchmarks.md.
"""

import argparse
import datetime
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench.__main__ import WRITTEN
from tests.bench.models import builds, node2vec
from tests.bench.models.stage import Stage
from tests.bench.report import Section, markdown, say, show

PARTS: dict[str, Callable[[Stage], list[Section]]] = {"node2vec": node2vec.measure, "builds": builds.measure}
QUICK_SCALE = [1]


def main() -> None:
    """The command. Parts that fail are named at the end, and the exit status is 1."""
    asked = _arguments()
    directory = Path(tempfile.mkdtemp(prefix="animusic-bench-models-"))
    try:
        sections, failed = _run(asked, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    for section in sections:
        show(section)
    missed = [row.what for section in sections for row in section.rows if row.kept is False]
    if missed:
        say(f"missed: {', '.join(missed)}")
    if failed:
        sys.exit(f"these parts did not end: {', '.join(failed)}")


def _run(asked: argparse.Namespace, directory: Path) -> tuple[list[Section], list[str]]:
    stage = Stage(directory, asked.quick, QUICK_SCALE if asked.quick and not asked.scale else asked.scale or [1, 3, 10])
    sections: list[Section] = []
    failed: list[str] = []
    for name in [name for name in PARTS if name in (asked.parts or PARTS)]:
        print(f"\n{name}", file=sys.stderr)
        try:
            found = PARTS[name](stage)
            sections.extend(found)
            if asked.write:
                _write(found, asked)
        except (RuntimeError, AssertionError, OSError) as error:
            failed.append(name)
            say(f"{name} did not end: {error}")
    return sections, failed


def _write(sections: list[Section], asked: argparse.Namespace) -> None:
    """As soon as a part ends: the next may take long."""
    before = WRITTEN.read_text() if WRITTEN.exists() else ""
    WRITTEN.write_text(markdown(sections, datetime.date.today().isoformat(), _command(asked), before))
    print(f"written: {WRITTEN.name}", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.models", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help=", ".join(PARTS), metavar="part")
    parser.add_argument("--quick", action="store_true", help="fewer songs: for a look, not for the record")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md from whatever ran")
    parser.add_argument(
        "--scale", type=lambda text: [int(part) for part in text.split(",")], metavar="1,3,10",
        help="sizes of the catalogue to compare, as multiples of 14,885 songs",
    )  # fmt: skip
    return parser.parse_args()


def _command(asked: argparse.Namespace) -> str:
    scale = ["--scale", ",".join(map(str, asked.scale))] if asked.scale else []
    return " ".join(["python -m tests.bench.models", *asked.parts, *(["--quick"] if asked.quick else []), *scale])


if importlib.util.find_spec("tests.bench.models.neural") is not None:
    from tests.bench.models import neural

    # Where sentence models can be had: encoding, and what a rebuild encodes again.
    PARTS["neural"] = neural.sections

if __name__ == "__main__":
    main()
