"""`python -m tests.bench [section …] [--quick]`: measure the real system, print tables, write docs/benchmarks.md."""

import argparse
import datetime
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from services.common.settings import REPO_ROOT
from tests.bench import (
    backup,
    catalogue,
    consumers,
    fresh,
    gateway,
    idle,
    index,
    memory,
    playlists,
    rebuild,
    records,
    replay,
    scale,
)
from tests.bench.report import Section, markdown, say, show
from tests.bench.stage import Stage

WRITTEN = REPO_ROOT / "docs" / "benchmarks.md"
# In the order in which they run: what starts parts of its own first, then what shares one running system.
SECTIONS: dict[str, Callable[[Stage], Awaitable[Section]]] = {
    "idle": idle.measure,
    "catalogue": catalogue.measure,
    "index": index.measure,
    "records": records.measure,
    "consumers": consumers.measure,
    "playlists": playlists.measure,
    "fresh": fresh.measure,
    "gateway": gateway.measure,
    "memory": memory.measure,
    "replay": replay.measure,
    "rebuild": rebuild.measure,
    "backup": backup.measure,
    "scale": scale.measure,
}


def main() -> None:
    """The command. Sections that fail are named at the end, and the exit status is 1."""
    asked = _arguments()
    directory = asked.data or Path(tempfile.mkdtemp(prefix="animusic-bench-"))
    try:
        sections, failed = uvloop.run(_run(asked, directory))
    finally:
        if asked.data is None:
            shutil.rmtree(directory, ignore_errors=True)
    for section in sections:
        show(section)
    if sections and (asked.write or (not failed and not asked.quick and len(sections) == len(SECTIONS))):
        before = WRITTEN.read_text() if WRITTEN.exists() else ""
        WRITTEN.write_text(markdown(sections, datetime.date.today().isoformat(), _command(asked), before))
        print(f"written: {WRITTEN.relative_to(REPO_ROOT)}", file=sys.stderr)
    if failed:
        sys.exit(f"these sections did not end: {', '.join(failed)}")


async def _run(asked: argparse.Namespace, directory: Path) -> tuple[list[Section], list[str]]:
    stage = Stage(directory, quick=asked.quick, scale=asked.scale)
    sections: list[Section] = []
    failed: list[str] = []
    try:
        for name in [name for name in SECTIONS if name in (asked.sections or SECTIONS)]:
            print(f"\n{name}", file=sys.stderr)
            try:
                sections.append(await SECTIONS[name](stage))
            except (RuntimeError, AssertionError, OSError) as error:
                failed.append(name)
                say(f"{name} did not end: {error!r}")
    finally:
        await stage.close()
    return sections, failed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help=", ".join(SECTIONS), metavar="section")
    parser.add_argument("--quick", action="store_true", help="fewer requests: for a look, not for the record")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md from whatever ran")
    parser.add_argument(
        "--scale",
        default="1,3,10",
        type=lambda text: [int(part) for part in text.split(",") if part != "0"],
        help="sizes of the catalogue to compare, as multiples of 14,885 songs (0: skip; building at 10 takes minutes)",
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIRECTORY", help="keep the data here, and go on from what is here; else temporary"
    )
    return parser.parse_args()


def _command(asked: argparse.Namespace) -> str:
    return " ".join(["python -m tests.bench", *asked.sections, *(["--quick"] if asked.quick else [])])


if __name__ == "__main__":
    main()
