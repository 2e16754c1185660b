"""What is printed once everything runs: a table, three lines to paste, and the page."""

from collections.abc import Sequence

import psutil
from rich.table import Table

from services.local.keeper import Keeper

MIB = 1 << 20


def table(keepers: Sequence[Keeper], own_pid: int) -> Table:
    """Part, process, address and resident memory, with the sum of the memory below."""
    shown = Table("part", "process", "address", "memory", box=None, pad_edge=False, header_style="dim")
    shown.columns[3].justify = "right"
    rows = [(keeper.name, keeper.pid, keeper.part.address) for keeper in keepers]
    total = 0
    for name, pid, address in [*rows, ("supervisor", own_pid, "")]:
        memory = resident_bytes(pid)
        total += memory
        shown.add_row(name, str(pid or "-"), address, f"{memory / MIB:.0f} MB")
    shown.add_row("all", "", "", f"{total / MIB:.0f} MB", style="bold")
    return shown


def resident_bytes(pid: int | None) -> int:
    """Resident memory of a process; 0 when it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid is not None else 0
    except psutil.Error:
        return 0


def curl_lines(url: str) -> list[str]:
    """Three lines that work when pasted one after the other: a session, a like, a playlist."""
    token = 'sed \'s/.*"token":"\\([^"]*\\).*/\\1/\''
    json = "-H 'content-type: application/json'"
    return [
        f"TOKEN=$(curl -s {url}/v1/sessions {json} -d '{{\"guest\": true}}' | {token})",
        f"curl -s {url}/v1/playlists -H \"authorization: Bearer $TOKEN\" {json} -d '{{}}'",
        f"curl -s '{url}/playlist?anilist_username=new'",
    ]
