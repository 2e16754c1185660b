"""`animusic trace EVENT_ID`: one event from the log to the next playlist."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from contracts.events import FeedbackEvent
from services.common.settings import Settings
from services.operator.trace import Trace, trace


def command(event_id: Annotated[UUID, typer.Argument(help="the event's id, as its client made it")]) -> None:
    """Follow one event from the log through the profile and the warehouse to the next playlist."""
    console = Console(highlight=False)
    for head, detail in _steps(asyncio.run(trace(Settings(), event_id))):
        console.print(f"[bold]{head:<10}[/] {detail}", soft_wrap=True)


def _steps(found: Trace) -> list[tuple[str, str]]:
    event = found.event
    about = event.song_id or event.anime_id
    arm = f", picked by {event.arm} ({event.attribution})" if event.arm else f", no arm ({event.refusal or 'no token'})"
    return [
        ("event", f"{event.event_id}: {event.kind} {about} by {event.user_id}{arm}"),
        ("log", f"partition {found.mark.partition}, offset {found.offset}, accepted {_delay(event)}"),
        ("profile", _profile(found)),
        *(("", f"{name}: {_fields(fields)}") for name, fields in found.registers.items() if fields),
        ("warehouse", "not there yet" if found.warehouse_ms is None else f"inserted {found.warehouse_ms:.0f} ms later"),
        ("next list", _playlist(found)),
    ]


def _delay(event: FeedbackEvent) -> str:
    return f"{event.received_at - event.occurred_at} ms after it occurred"


def _profile(found: Trace) -> str:
    mark = f"mark {found.profile_mark}"
    if not found.in_profile:
        return f"has not come so far yet ({mark}); `animusic status` says whether the consumer runs"
    return f"reflects it ({mark}), registers {'hold' if found.agrees else 'DO NOT hold'} what it wrote"


def _playlist(found: Trace) -> str:
    playlist = found.playlist
    if playlist is None:
        return "none served since"
    songs = ", ".join(f"{slot.song_id} ({slot.arm})" for slot in playlist.slots)
    after = playlist.served_at - found.event.received_at
    return f"{playlist.playlist_id} revision {playlist.revision}, {after} ms later: {songs}"


def _fields(fields: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v.hex() if isinstance(v, bytes) else v}" for k, v in fields.items())
