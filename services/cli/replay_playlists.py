"""`animusic replay playlists`: what would have been served at a time, with other models, beside what was."""

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from model_jobs.live import live_models
from services.cli.progress import say
from services.cli.reaching import reach_log
from services.cli.rebuilding import showing
from services.common.process.clock import now_ms
from services.common.settings import Settings
from services.common.tables import print_table
from services.common.vectors.published import published_models
from services.operator.dlq.selecting import moment
from services.operator.replay.contexts import Wanted
from services.operator.replay.playlists import Answer, Changed, Replayed, Seat, chosen, composed_again, tallied
from services.rebuild.engine import Progress
from services.recommender.interface import Catalogue, opening

_MINUTE_MS = 60_000
# More playlists than this are summed up in numbers, unless --user names their listeners.
_SHOWN = 5


def command(
    *,
    at: Annotated[
        str, typer.Option("--at", help="An ISO time (UTC), how long ago (90m, 2h, 3d), or now.", metavar="TIME")
    ],
    user: Annotated[list[str] | None, typer.Option(help="Of this listener only; may be repeated.")] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(help="The version that an arm would have had, or `live`; may be repeated.", metavar="ARM=VERSION"),
    ] = None,
    window: Annotated[int, typer.Option(min=1, help="Of listeners served in so many minutes before TIME.")] = 60,
    limit: Annotated[int, typer.Option(min=1, help="At most so many listeners, those served last.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with every slot, for scripts.")] = False,
) -> None:
    """Compose again what listeners had before them at a time, and say what differs from what was served.

    The profile is folded from the log as far as the playlist reflects it, and the models that served it are asked
    again: that says how far the log explains what was served. With --arm the arms named pick by other versions, and
    what comes of it is shown beside. Chance stays as it was. Nothing is written or served.

    Exits with 1 when no playlist was served then; it prints from when on the log has some.
    """
    settings = Settings()
    asyncio.run(reach_log(settings.kafka, 10))
    here = published_models(settings.vectors_dir)
    live = asyncio.run(live_models(settings.kafka)) if arm else {}
    changed: Changed = {one.arm: one for one in (chosen(here, live, text) for text in arm or ())}
    wanted = Wanted(moment(at, now_ms()), frozenset(user or ()), window * _MINUTE_MS, limit)
    with showing("replay playlists") as show, opening(settings.vectors_dir, here) as opened:
        answer = asyncio.run(
            composed_again(
                settings, wanted, opened, changed, lambda what, done, total: show(Progress(what, done, total))
            )
        )
    if answer.forgotten:
        say(f"{answer.forgotten} listeners asked to be forgotten, and are not looked at")
    if as_json:
        print(json.dumps(_as_json(answer, wanted, changed)))
        return
    if user or len(answer.found) <= _SHOWN:
        for one in answer.found:
            _print_playlist(one, answer.catalogue, changed)
    _print_summary(answer, changed)


def _as_json(answer: Answer, wanted: Wanted, changed: Changed) -> dict[str, Any]:
    return {
        "at": wanted.at,
        "changed": {arm: record.version for arm, record in changed.items()},
        "catalogue": {"songs": len(answer.catalogue), "later": answer.later},
        "arms": {arm: asdict(tally) for arm, tally in tallied(answer.found).items()},
        "playlists": [
            {
                "playlist_id": str(one.playlist.playlist_id),
                "revision": one.playlist.revision,
                "user_id": one.playlist.user_id,
                "served_at": one.playlist.served_at,
                "profile_as_then": one.faithful,
                "slots": [asdict(seat) for seat in one.seats],
            }
            for one in answer.found
        ],
    }


def _print_playlist(one: Replayed, catalogue: Catalogue, changed: Changed) -> None:
    playlist = one.playlist
    profile = "the profile as it was then" if one.faithful else "NOT the profile of then: its log is not whole any more"
    print(
        f"{playlist.user_id}, {_clock(playlist.served_at)}: playlist {playlist.playlist_id}, revision "
        f"{playlist.revision}; {profile}"
    )
    columns = ["slot", "arm", "version", "served", "again"]
    table = Table(*columns, *(["with " + ", ".join(f"{a}={r.version}" for a, r in changed.items())] if changed else []),
                  box=None)  # fmt: skip
    for seat in one.seats:
        cells = [
            "-" if seat.slot is None else str(seat.slot),
            seat.arm,
            seat.version or "-",
            _title(seat.served, catalogue),
            _again(seat, catalogue),
        ]
        table.add_row(*cells, *([_instead(seat, catalogue)] if changed else []))
    print_table(table)


def _again(seat: Seat, catalogue: Catalogue) -> str:
    if seat.slot is None:
        return "-"
    if seat.kept:
        return "kept"
    if not seat.replayed:
        return "not on this machine"
    return "the same" if seat.again == seat.served else _title(seat.again, catalogue)


def _instead(seat: Seat, catalogue: Catalogue) -> str:
    return "the same" if seat.instead == seat.again and seat.slot is not None else _title(seat.instead, catalogue)


def _title(song_id: str | None, catalogue: Catalogue) -> str:
    if song_id is None:
        return "nothing"
    entry = catalogue.find(song_id)
    return f"{entry.title} ({song_id})" if entry else song_id


def _print_summary(answer: Answer, changed: Changed) -> None:
    found = answer.found
    columns = ["arm", "slots", "again the same", "not on this machine", *(["another song"] if changed else [])]
    table = Table(*columns, box=None)
    for arm, tally in tallied(found).items():
        cells = [arm, f"{tally.slots:,}", f"{tally.same:,}", f"{tally.not_here:,}"]
        table.add_row(*cells, *([f"{tally.other:,}"] if changed else []))
    print_table(table)
    faithful, same = sum(one.faithful for one in found), sum(one.same for one in found)
    print(f"playlists: {len(found):,}; profiles as they were then: {faithful:,}; that come out as served: {same:,}")
    if answer.later:
        print(f"{answer.later:,} songs may have been added since: the log does not hold any more what they were then")
    if len(found) > _SHOWN:
        say("--user shows a listener's slots, --json all of them")


def _clock(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
