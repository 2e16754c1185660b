"""`animusic models …`: build the vectors of songs, and see which are live."""

import asyncio
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from contracts.models import LiveModel
from model_jobs.build import Built, build, stale_arms
from model_jobs.checks import CheckFailedError
from model_jobs.live import live_models
from model_jobs.model import Model
from model_jobs.random_vectors import DIMENSIONS, RandomVectors
from model_jobs.registry import model_named
from services.cli.progress import say
from services.common.catalogue_log import read_catalogue
from services.common.kafka import wait_for_broker
from services.common.settings import Settings
from services.common.vectors.published import published_models

app = typer.Typer(no_args_is_help=True, help="The vectors of songs: build them, and see which are live.")

_NODE2VEC = "node2vec"


@app.command("build")
def build_(
    arms: Annotated[
        list[str] | None,
        typer.Argument(help="tfidf, node2vec; none: those that are missing or stale.", metavar="[ARM]..."),
    ] = None,
    *,
    dimension: Annotated[int | None, typer.Option(min=2, help="node2vec: length of a vector. [default: 64]")] = None,
    walk_length: Annotated[int | None, typer.Option(min=2, help="node2vec: nodes of a walk. [default: 10]")] = None,
    walks: Annotated[int | None, typer.Option(min=1, help="node2vec: walks from each node. [default: 20]")] = None,
    window: Annotated[int | None, typer.Option(min=1, help="node2vec: nodes to each side. [default: 5]")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="node2vec: passes over the walks. [default: 1]")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="node2vec: threads; only 1 is repeatable. [default: 1]")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="node2vec: another seed, another model. [default: 1]")] = None,
) -> None:
    """Build models from the catalogue in the log and switch to them.

    A model that is live already, for the same songs and parameters, is left as it is. A model that fails its checks is
    thrown away and the live one stays.
    """
    asked = {
        "dimension": dimension, "walk_length": walk_length, "walks": walks, "window": window, "epochs": epochs,
        "workers": workers, "seed": seed,
    }  # fmt: skip
    params = {name: value for name, value in asked.items() if value is not None}
    settings = Settings()
    asyncio.run(wait_for_broker(settings.kafka))
    chosen = arms or ([_NODE2VEC] if params else asyncio.run(stale_arms(settings)))
    if not chosen:
        say("models: all are live and up to date")
    for arm in chosen:
        _build(settings, model_named(settings, arm, params if arm == _NODE2VEC else None))


@app.command("list")
def list_() -> None:
    """List the models that lie on this machine, and which of them are live."""
    settings = Settings()
    live, digest = asyncio.run(_live(settings))
    table = Table("arm", "version", "vectors", "songs", "built (UTC)", "state", box=None)
    on_disk = published_models(settings.vectors_dir)
    elsewhere = [record for record in live.values() if record not in on_disk]
    for record in sorted([*on_disk, *elsewhere], key=lambda record: (record.arm, -record.built_at)):
        table.add_row(*_row(record, live, digest, here=record in on_disk))
    if table.row_count:
        Console(soft_wrap=True).print(table)
    else:
        say("no models yet; `animusic models build` makes them")


@app.command("load-random", hidden=True)
def load_random(
    arms: Annotated[list[str], typer.Argument(help="mpnet, minilm")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """For benchmarks only: publish made-up vectors in the size of an encoder's, under the encoder's name."""
    unknown = [arm for arm in arms if arm not in DIMENSIONS]
    if unknown:
        raise ValueError(f"made-up vectors stand in for {' and '.join(DIMENSIONS)}, not for {', '.join(unknown)}")
    settings = Settings()
    for arm in arms:
        _build(settings, RandomVectors(arm, seed=seed))


def _build(settings: Settings, model: Model) -> None:
    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(model.arm, total=None)

        def report(what: str, done: int, steps: int) -> None:
            # A step that does not say how far it is gets a bar that only shows that it lives.
            progress.update(task, description=f"{model.arm}: {what}", completed=done, total=steps if done else None)

        try:
            built = asyncio.run(build(settings, model, report))
        except CheckFailedError as error:
            raise RuntimeError(f"{model.arm} was not published: {error}. What was live before stays live.") from error
    say(_sentence(built))


def _sentence(built: Built) -> str:
    record = built.record
    shape = f"{record.songs:,} songs, {record.dimension:,} {'dimensions' if record.vectors == 'dense' else 'words'}"
    checked = "" if built.recall is None else f", recall@10 {built.recall:.3f}"
    left_out = f", {len(built.left_out):,} songs left out" if built.left_out else ""
    return f"{record.arm}: {built.outcome} {record.version} ({shape}{checked}{left_out}) in {built.seconds:.1f} s"


async def _live(settings: Settings) -> tuple[dict[str, LiveModel], str]:
    await wait_for_broker(settings.kafka)
    return await live_models(settings.kafka), (await read_catalogue(settings.kafka)).digest()


def _row(record: LiveModel, live: dict[str, LiveModel], digest: str, *, here: bool) -> tuple[Any, ...]:
    state = "live" if record.arm in live and live[record.arm].version == record.version else "old"
    if record.catalogue_digest != digest:
        state += ", of another catalogue"
    if not here:
        state += ", not on this machine"
    if record.params.get("made_up"):
        state += ", made up"
    built = _utc(record.built_at)
    return record.arm, record.version, f"{record.vectors} {record.dimension:,}", f"{record.songs:,}", built, state


def _utc(at_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
