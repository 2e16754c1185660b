"""Formats findings for `status` and `ledger`."""

from collections.abc import Iterable, Iterator
from typing import Final

from rich.text import Text

from services.operator.findings import Finding

_SIGNS: Final = {"warn": ("!", "yellow"), "fail": ("✗", "red")}


def lines(findings: Iterable[Finding], ok: str = "✓") -> Iterator[Text]:
    """A line each, with the sign `ok` where nothing is wrong, and one more where something is to be done."""
    for finding in findings:
        sign, colour = _SIGNS.get(finding.state, (ok, "green"))
        line = Text.assemble((f"{sign} {finding.name}: ", colour), finding.detail)
        if finding.remedy:
            page = f" ({finding.page})" if finding.page else ""
            line.append(f"\n  → {finding.remedy}{page}", style="dim" if finding.state == "ok" else "bold")
        yield line
