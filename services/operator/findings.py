"""A finding: the state of one part, and what to do when it is not healthy."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

State = Literal["ok", "warn", "fail"]
# How a remedy names what lies in the data directory, before it is known where that is.
_LOG: Final = re.compile(r"<data_dir>/logs/([\w-]+)\.log")
_DATA_DIR: Final = "<data_dir>"


@dataclass(frozen=True)
class Finding:
    """`remedy` is a sentence that says what to do; empty when nothing needs doing. `page`: where more is said."""

    name: str
    state: State
    detail: str
    remedy: str = ""
    page: str = ""


def placed(findings: Iterable[Finding], data_dir: Path) -> list[Finding]:
    """The findings with `<data_dir>` in their remedies filled in, so that a path works when it is pasted.

    A service that does not run on this machine has no log there: then the remedy names the service's own log.
    """

    def path_of(found: re.Match[str]) -> str:
        path = data_dir / "logs" / f"{found[1]}.log"
        return str(path) if path.exists() else f"the log of {found[1]}"

    return [replace(f, remedy=_LOG.sub(path_of, f.remedy).replace(_DATA_DIR, str(data_dir))) for f in findings]
