"""`animusic models evaluate`: how good the arms are, measured offline."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from collectors.sources import read, source_named
from collectors.synthetic import SMALLEST, SONGS
from contracts.catalogue import Song
from model_jobs.evaluate.asking import QUERIES
from model_jobs.evaluate.evaluation import Plan, evaluate
from model_jobs.evaluate.figures import Evaluation, Figure, arms_of, as_json, write_csv
from model_jobs.evaluate.metrics import Interval
from model_jobs.evaluate.models_here import arms_here, models_here
from model_jobs.evaluate.picture import check_drawable, write_picture
from model_jobs.evaluate.withhold import FIELDS, Field
from model_jobs.model import Report
from services.cli.progress import say
from services.cli.reaching import reach_log
from services.common.kafka.catalogue_log import read_catalogue
from services.common.settings import Settings
from services.common.tables import print_table

_LOG: Final = "log"


def command(
    arms: Annotated[
        list[str] | None,
        typer.Argument(help="Content arms, node2vec:paper; none: all that can be built here.", metavar="ARM"),
    ] = None,
    *,
    catalogue: Annotated[
        str,
        typer.Option(help="`log`, `sample`, `synthetic`, or a CSV file (plain or .gz); all but the log work offline."),
    ] = _LOG,
    songs: Annotated[int, typer.Option(min=SMALLEST, help="How many songs `synthetic` makes.")] = SONGS,
    listeners: Annotated[int, typer.Option(min=10, help="How many made-up listeners are given lists.")] = 200,
    withhold: Annotated[
        list[str] | None,
        typer.Option(help="Only questions with this field, or `nothing`, withheld. Repeatable.", metavar="FIELD"),
    ] = None,
    queries: Annotated[int, typer.Option(min=10, help="At most so many songs are asked about, each.")] = QUERIES,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws; the same seed gives the same figures.")] = 0,
    csv: Annotated[Path | None, typer.Option(help="Also write every figure there, one a row.", metavar="FILE")] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Also draw the figures there, as .svg, .png or .pdf; needs `make evaluation`.", metavar="FILE"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure what models find of a field that was withheld from them, and what lists they make.

    Every model is built anew for each withheld field and nothing is published; random and popular songs are measured
    beside the arms. Figures have 95 % bootstrap intervals. What cannot be measured is said below the tables.
    """
    settings = Settings()
    if picture is not None:
        check_drawable()
    plan = Plan(listeners, queries, seed, _fields(withhold or ()))
    chosen = arms_here(settings, arms or ())
    known = _songs(settings, catalogue, songs)
    with _progress() as report:
        evaluation = evaluate(known, chosen, models_here(settings), plan, report)
    print(as_json(evaluation)) if json else _print(evaluation)
    if csv is not None:
        write_csv(csv, evaluation)
    if picture is not None:
        write_picture(picture, evaluation, f"What the models find and spread: {Path(catalogue).name}")


def _fields(names: Sequence[str]) -> Sequence[Field | None]:
    known: dict[str, Field | None] = {**{field: field for field in FIELDS}, "nothing": None}
    for name in names:
        if name not in known:
            raise ValueError(f"no field is named {name!r}; `--withhold` takes {', '.join(known)}")
    return [known[name] for name in names or known]


def _songs(settings: Settings, catalogue: str, songs: int) -> Sequence[Song]:
    if catalogue != _LOG:
        source = read(source_named(catalogue, songs=songs, encoding=settings.catalogue.encoding))
        if complaint := source.complaint():
            say(complaint)
        return source.songs
    asyncio.run(reach_log(settings.kafka))
    found = list(asyncio.run(read_catalogue(settings.kafka)).songs.values())
    if not found:
        raise ValueError("the catalogue has no songs; `animusic catalogue import sample` loads some")
    return found


@contextmanager
def _progress() -> Iterator[Report]:
    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("evaluate", total=None)
        last = ""

        def report(what: str, done: int, steps: int) -> None:
            nonlocal last
            progress.update(task, description=what, completed=done, total=steps)
            job = what.partition(":")[0]
            if job != last and not console.is_terminal:
                say(f"{100 * done // max(steps, 1):3d} %  {job}")
            last = job

        yield report


def _print(evaluation: Evaluation) -> None:
    console = Console()
    about = evaluation.about
    console.print(f"{about['songs']:,} songs, {about['listeners']} listeners, seed {about['seed']}")
    for question, candidates, figures in evaluation.tables():
        withheld = f", {figures[0].withheld} withheld" if figures[0].withheld else ""
        among = ", same anime left out" if candidates != "all" else ""
        console.print(f"\n[bold]{question}{withheld}{among}[/bold] (n = {figures[0].interval.n:,})", highlight=False)
        print_table(_overlaps(figures) if figures[0].other_arm else _table(figures))
    console.print("\nA figure's brackets: 95 % bootstrap interval over songs or listeners.", highlight=False)
    for note in evaluation.notes:
        console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)


def _table(figures: Sequence[Figure]) -> Table:
    measures = list(dict.fromkeys(each.measure for each in figures))
    table = Table("arm", *measures, box=None)
    for arm in arms_of(figures):
        of_arm = {each.measure: _cell(each.interval) for each in figures if each.arm == arm}
        table.add_row(arm, *(of_arm.get(measure, "") for measure in measures))
    return table


def _overlaps(figures: Sequence[Figure]) -> Table:
    arms = arms_of(figures)
    pairs = {frozenset((each.arm, each.other_arm)): _cell(each.interval) for each in figures}
    table = Table(figures[0].measure, *arms[:-1], box=None)
    for number, arm in enumerate(arms[1:], 1):
        table.add_row(arm, *(pairs.get(frozenset((arm, other)), "") for other in arms[:number]))
    return table


def _cell(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
