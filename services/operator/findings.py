"""One thing that was looked at: how it is, and what to do when it is not well."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

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
