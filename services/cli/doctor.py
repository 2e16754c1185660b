"""`animusic doctor`: what is wrong with this installation, and what to do."""

import asyncio
import logging

import typer
from rich.console import Console
from rich.text import Text

from services.common.settings import Settings
from services.local.layout import Layout, read_json
from services.operator.doctor import Doctor
from services.operator.findings import Finding

_SIGNS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def command() -> None:
    """Ask every part of this installation how it is; say what to do about what is not well.

    Exits with 1 when something fails.
    """
    # What a client library says about a part that does not answer, the finding says better.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    settings = Settings()
    supervisor = read_json(Layout(settings.data_dir.absolute()).status)
    findings = asyncio.run(Doctor(settings, supervisor).examine())
    console = Console()
    for finding in findings:
        console.print(_line(finding), soft_wrap=True)
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)


def _line(finding: Finding) -> Text:
    sign, colour = _SIGNS[finding.state]
    line = Text.assemble((f"{sign} {finding.name:<15} ", colour), finding.detail)
    if finding.remedy:
        line.append(f"\n  → {finding.remedy}", style="bold")
    return line
