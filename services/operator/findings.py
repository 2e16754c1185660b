"""One thing that was looked at: how it is, and what to do when it is not well."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """`remedy` is a sentence that says what to do; empty when nothing needs doing. `page`: where more is said."""

    name: str
    state: State
    detail: str
    remedy: str = ""
    page: str = ""


Check = Callable[[], Awaitable[list[Finding]]]
# How a remedy names what lies in the data directory, before anybody knows where that is.
_LOG: Final = re.compile(r"<data_dir>/logs/([\w-]+)\.log")
_DATA_DIR: Final = "<data_dir>"


def placed(findings: Iterable[Finding], data_dir: Path) -> list[Finding]:
    """The findings with `<data_dir>` in their remedies filled in, so that a path works when somebody pastes it.

    A service that does not run on this machine has no log there: then the remedy names the service's own log.
    """

    def path_of(found: re.Match[str]) -> str:
        path = data_dir / "logs" / f"{found[1]}.log"
        return str(path) if path.exists() else f"the log of {found[1]}"

    return [
        replace(finding, remedy=_LOG.sub(path_of, finding.remedy).replace(_DATA_DIR, str(data_dir)))
        for finding in findings
    ]


async def run_checks(checks: Sequence[tuple[str, str, Check]], timeout_seconds: float = 10.0) -> list[Finding]:
    """Run (name, remedy, check) in order; a check that raises or hangs is itself a failing finding with that remedy."""
    findings: list[Finding] = []
    for name, remedy, check in checks:
        try:
            findings += await asyncio.wait_for(check(), timeout_seconds)
        except TimeoutError:
            findings.append(Finding(name, "fail", f"no answer within {timeout_seconds:.0f} s", remedy))
        except Exception as error:  # noqa: BLE001 - the doctor reports whatever is wrong instead of falling ill himself
            findings.append(Finding(name, "fail", f"{type(error).__name__}: {error}".splitlines()[0], remedy))
    return findings
