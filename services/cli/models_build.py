"""`animusic models build`: from the catalogue in the log to live models."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from model_jobs.build import Built, build, models_as_live, stale_models
from model_jobs.checks import CheckFailedError
from model_jobs.model import ModelBuilder
from model_jobs.random_vectors import DIMENSIONS, RandomVectors
from model_jobs.registry import model_named
from services.cli import node2vec_options
from services.cli.models_progress import shown
from services.cli.progress import say
from services.cli.reaching import reach_log
from services.common.settings import Settings

_NODE2VEC: Final = "node2vec"


def command(
    arms: Annotated[
        list[str] | None,
        typer.Argument(
            help="tfidf, node2vec, minilm, mpnet (these two encode); none: those that are missing or stale.",
            metavar="ARM",
        ),
    ] = None,
    *,
    preset: node2vec_options.Preset = None,
    dimension: node2vec_options.Dimension = None,
    walk_length: node2vec_options.WalkLength = None,
    walks: node2vec_options.Walks = None,
    window: node2vec_options.Window = None,
    p: node2vec_options.P = None,
    q: node2vec_options.Q = None,
    epochs: node2vec_options.Epochs = None,
    workers: node2vec_options.Workers = None,
    seed: node2vec_options.Seed = None,
    nodes: node2vec_options.Nodes = None,
    edge_weights: node2vec_options.EdgeWeights = None,
    no_switch: Annotated[
        bool, typer.Option("--no-switch", help="Publish, but let listeners keep what is live: compare, then switch.")
    ] = False,
    as_live: Annotated[
        bool, typer.Option("--as-live", help="With the parameters that the arm is live with, not the defaults.")
    ] = False,
) -> None:
    """Build models from the catalogue in the log and switch to them.

    A model that is live already, for the same songs and parameters, is left as it is. A model that fails its checks is
    thrown away and the live one stays. Without an ARM, stale ones keep the parameters that they are live with.
    """
    params = node2vec_options.given({
        "preset": preset, "dimension": dimension, "walk_length": walk_length, "walks": walks, "window": window,
        "p": p, "q": q, "epochs": epochs, "workers": workers, "seed": seed, "nodes": nodes,
        "edge_weights": edge_weights,
    })  # fmt: skip
    settings = Settings()
    asyncio.run(reach_log(settings.kafka))
    chosen = arms or ([_NODE2VEC] if params else None)
    if chosen is None:
        models = asyncio.run(stale_models(settings))
    elif as_live:
        models = asyncio.run(models_as_live(settings, chosen))
    else:
        models = [model_named(settings, arm, params if arm == _NODE2VEC else None) for arm in chosen]
    if not models:
        say("models: all are live and up to date")
    _build_all(settings, models, switch=not no_switch)


def load_random(
    arms: Annotated[list[str], typer.Argument(help="mpnet, minilm")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """For benchmarks only: publish made-up vectors in the size of an encoder's, under the encoder's name."""
    unknown = [arm for arm in arms if arm not in DIMENSIONS]
    if unknown:
        raise ValueError(f"made-up vectors stand in for {' and '.join(DIMENSIONS)}, not for {', '.join(unknown)}")
    settings = Settings()
    _build_all(settings, [RandomVectors(arm, seed=seed) for arm in arms], switch=True)


def _build_all(settings: Settings, models: Sequence[ModelBuilder], *, switch: bool) -> None:
    """Build one after the other, also after a failure; the first error is raised at the end."""
    failures: list[Exception] = []
    for model in models:
        try:
            _build(settings, model, switch=switch)
        except (RuntimeError, ValueError, OSError) as failure:
            if failures:
                say(f"animusic: {failure}")
            failures.append(failure)
    if failures:
        raise failures[0]


def _build(settings: Settings, model: ModelBuilder, *, switch: bool) -> None:
    with shown(model.arm) as report:
        try:
            built = asyncio.run(build(settings, model, report, switch=switch))
        except CheckFailedError as error:
            raise RuntimeError(f"{model.arm} was not published: {error}. What was live before stays live.") from error
    say(_sentence(built))


def _sentence(built: Built) -> str:
    record = built.record
    shape = f"{record.songs:,} songs, {record.dimension:,} {'dimensions' if record.vectors == 'dense' else 'words'}"
    checked = "" if built.recall is None else f", recall@10 {built.recall:.3f}"
    left_out = f", {len(built.left_out):,} songs left out" if built.left_out else ""
    done = f"{record.arm}: {built.outcome} {record.version} ({shape}{checked}{left_out}) in {built.seconds:.1f} s"
    if built.live:
        return done
    return f"{done}; not live: `animusic models switch {record.arm} {record.version}`"
