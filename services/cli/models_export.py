"""`animusic models export` and `import`: a sentence model's vectors go to a machine that has no encoder."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from collectors.sample.vectors import SHIPPED
from model_jobs.build import Built
from model_jobs.checks import CheckFailedError
from model_jobs.live import live_models
from model_jobs.neural.export_file import Precision, VectorExport, read_export
from model_jobs.vector_export import export as export_to
from model_jobs.vector_export import has_vectors_of_songs, made_of
from model_jobs.vector_export import import_ as import_from
from services.cli.progress import say
from services.cli.reaching import reach_log
from services.common.settings import Settings

SAMPLE = "sample"


def export(
    arm: Annotated[str, typer.Argument(help="mpnet, minilm")],
    file: Annotated[Path, typer.Argument(help="The Parquet file to write.", dir_okay=False)],
    *,
    float32: Annotated[
        bool,
        typer.Option("--float32/--float16", help="Every digit, at twice the size; float16 moves a cosine by 1e-6."),
    ] = False,
) -> None:
    """Write a live sentence model's vectors into a file for `animusic models import`.

    The file names the model and its revision, and the text that each vector was made of.
    """
    settings = Settings()
    asyncio.run(reach_log(settings.kafka))
    precision: Precision = "float32" if float32 else "float16"
    exported = asyncio.run(export_to(settings, arm, file, precision))
    megabytes = file.stat().st_size / 1e6
    say(f"{arm}: {_described(exported)} as {precision} in {file} ({megabytes:.1f} MB)")


def import_(
    files: Annotated[
        list[str],
        typer.Argument(help="Files of `animusic models export`, or `sample`: those shipped.", metavar="FILE"),
    ],
    *,
    arm: Annotated[list[str] | None, typer.Option(help="Only these arms of the files.")] = None,
    as_live: Annotated[
        bool, typer.Option("--as-live", help="Only arms that are live with these very vectors, which are not here.")
    ] = False,
    if_any: Annotated[
        bool, typer.Option("--if-any", help="A file with no vector of a song of the catalogue is passed over.")
    ] = False,
) -> None:
    """Build arms from files of vectors and switch to them. Needs no torch, no model and no network.

    Songs that were described otherwise where the vectors were made, or not there, are left out of the arm. A file that
    is not good changes nothing.
    """
    settings = Settings()
    paths = [path for name in files for path in (SHIPPED.values() if name == SAMPLE else [Path(name)])]
    # All are read before anything is changed.
    exports = [exported for exported in map(read_export, paths) if not arm or exported.origin.arm in arm]
    asyncio.run(reach_log(settings.kafka))
    live = asyncio.run(live_models(settings.kafka)) if as_live else {}
    for exported in exports:
        name = exported.origin.arm
        if as_live and (name not in live or not made_of(live[name], exported)):
            raise RuntimeError(f"{name} is not live with these vectors, and stays as it is")
        if if_any and not asyncio.run(has_vectors_of_songs(settings, exported)):
            say(f"{exported.origin.arm}: passed over, as no song of the catalogue has a vector in the file")
        else:
            say(_sentence(exported, _built(settings, exported)))


def _built(settings: Settings, exported: VectorExport) -> Built:
    try:
        return asyncio.run(import_from(settings, exported))
    except CheckFailedError as error:
        name = exported.origin.arm
        raise RuntimeError(f"{name} was not published: {error}. What was live before stays live.") from error


def _sentence(exported: VectorExport, built: Built) -> str:
    record = built.record
    left_out = f", {len(built.left_out):,} songs left out" if built.left_out else ""
    done = f"{built.outcome} {record.version} ({record.songs:,} songs{left_out}) in {built.seconds:.1f} s"
    return f"{record.arm}: {done}, from {_described(exported)}"


def _described(exported: VectorExport) -> str:
    origin = exported.origin
    shape = f"{len(exported.raw):,} vectors of {origin.dimension} dimensions"
    return f"{shape} by {origin.model} ({origin.revision[:12]})"
