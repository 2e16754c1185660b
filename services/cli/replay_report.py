"""Prints the result of a rebuild."""

import asyncio

from rich.console import Console
from rich.table import Table

from contracts.fold import LIST_FIELD, SONG_FIELD, VETO_FIELD
from contracts.registers import SERVED, SERVED_SLICES, VETO
from services.common.settings import Settings
from services.common.tables import print_table
from services.operator.parity import Difference, Parity
from services.operator.replay.drilldown import Explained, explain
from services.operator.replay.looking import Estimate, OneUser
from services.operator.replay.profiles import Outcome

_SHOWN = 20


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False)


def print_plan(found: Estimate) -> None:
    """What would be read."""
    console = _console()
    table = Table("topic", "partition", "from", "to", "records", box=None)
    for p in found.plan.partitions:
        table.add_row(p.topic, str(p.partition), str(p.start or 0), str(p.until or p.end), f"{p.size:,}")
    print_table(table)
    for gap in found.plan.gaps:
        console.print(f"gap: {gap}")
    console.print(
        f"{found.plan.records:,} records; one process reads and decodes {found.sample:,.0f} a second here, so "
        f"{found.workers} take about {found.seconds:.0f} s. Nothing was written."
    )


def print_outcome(found: Outcome, *, keep: bool) -> None:
    """What came of a rebuild, to the last line: what to do next."""
    console = _console()
    begun = "went on in" if found.went_on else "built"
    rate = found.records / found.seconds if found.seconds else 0.0
    console.print(
        f"{begun} generation {found.generation}: {found.records:,} records in {found.seconds:.1f} s "
        f"({rate:,.0f}/s), at most {found.memory >> 20} MB"
    )
    if found.poison:
        console.print(f"{found.poison:,} records could not be read; they are among the dead letters")
    for gap in found.gaps:
        console.print(f"gap: {gap}")
    if found.parity is not None:
        _print_parity(console, found.parity)
    console.print(_next(found, keep))


def _print_parity(console: Console, parity: Parity) -> None:
    left, right = parity.digests()
    console.print(
        f"compared {parity.users:,} listeners, {parity.fields:,} fields, {parity.histories:,} playlists of histories, "
        f"{parity.forgotten:,} forgotten, in {parity.seconds:.1f} s"
    )
    console.print(f"digest {parity.left}: {left}\ndigest {parity.right}: {right}")
    if parity.empty:
        console.print(f"nothing to compare: neither {parity.left} nor {parity.right} holds a listener")
    elif parity.equal:
        console.print("equal at equal marks in all 64 shards")
    else:
        console.print(f"{parity.different:,} fields differ; {len(parity.unsettled):,} listeners were not compared")


def _next(found: Outcome, keep: bool) -> str:
    name = found.generation
    if found.switched:
        writer = (
            "and the consumer writes it"
            if found.taken_over
            else "but no consumer writes it yet: start one (`animusic serve profiles`), it goes on from its marks"
        )
        return (
            f"generation {name} is live, {writer}; `animusic generations rollback` goes back to {found.former}, "
            "`animusic generations prune` removes what is older"
        )
    if keep:
        return f"{found.former} stays live; `animusic generations switch {name}` catches up and switches"
    return (
        f"not switched: {found.former} stays live and {name} is kept. If {found.former} is known to be wrong: "
        f"`animusic replay profiles --generation {name} --even-if-different`; else `animusic generations prune {name}`"
    )


def print_differences(settings: Settings, parity: Parity) -> None:
    """The first differences, with the events that made them."""
    console = _console()
    explained = asyncio.run(explain(settings.kafka, parity.differences[:_SHOWN]))
    by_field = {(e.difference.user_id, e.difference.field): e for e in explained}
    for difference in parity.differences[:_SHOWN]:
        found = by_field.get((difference.user_id, difference.field))
        _print_difference(console, difference, found, (parity.left, parity.right))
    if parity.different > _SHOWN:
        console.print(f"… and {parity.different - _SHOWN:,} more fields")
    if parity.unsettled:
        console.print(
            f"{len(parity.unsettled):,} listeners could not be compared: {parity.left} is too far behind the log; does "
            "its consumer run? `animusic status` says"
        )


def print_one_user(found: OneUser) -> None:
    """A listener as rebuilt, beside the live profile."""
    console = _console()
    console.print(
        f"[bold]{found.user_id}[/]: {_count(found.built)} by the log, {_count(found.live)} in {found.generation}"
    )
    by_field = {e.difference.field: e for e in found.explained}
    for difference in found.differences:
        _print_difference(console, difference, by_field.get(difference.field), (found.generation, "log"))
    if not found.differences:
        console.print("equal")


def _count(fields: dict[bytes, bytes]) -> str:
    songs, vetoes = (sum(name[:1] == kind for name in fields) for kind in (SONG_FIELD, VETO_FIELD))
    return f"{songs} songs, {vetoes} vetoes{', an anime list' if LIST_FIELD in fields else ''}"


def _print_difference(
    console: Console, difference: Difference, found: Explained | None, sides: tuple[str, str]
) -> None:
    named = dict(zip(("left", "right"), sides, strict=True))
    console.print(f"[bold]{difference.user_id}[/] {difference.field.decode(errors='replace')}", markup=True)
    for side, value in zip(sides, (difference.left, difference.right), strict=True):
        console.print(f"  {side}: {_value(difference.field, value)}", markup=False)
    if found is None:
        return
    says = named.get(found.agrees, "neither")
    console.print(f"  differs in {', '.join(found.registers)}; folding the log gives what {says} holds", markup=False)
    for cause in found.causes[:_SHOWN]:
        who = " and ".join(named[side] for side in cause.sides.split(" and "))
        console.print(
            f"  {cause.register} of {who}: {cause.kind} {cause.event_id}, partition {cause.partition}, "
            f"offset {cause.offset}",
            markup=False,
        )


def _value(name: bytes, value: bytes | None) -> str:
    if value is None:
        return "(not there)"
    if name[:1] == VETO_FIELD:
        return _fields(VETO.name, VETO.decode(value))
    if name[:1] == SONG_FIELD and len(value) == sum(register.width for register in SERVED):
        return "; ".join(_fields(r.name, r.decode(value[SERVED_SLICES[r.name]])) for r in SERVED)
    return f"{len(value)} bytes {value[:24].hex()}…"


def _fields(name: str, fields: dict[str, object] | None) -> str:
    if fields is None:
        return f"{name} -"
    return f"{name} " + " ".join(f"{k}={v.hex() if isinstance(v, bytes) else v}" for k, v in fields.items())
