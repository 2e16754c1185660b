"""Fills an empty log: a catalogue, the models that this machine builds from it, shipped vectors."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.markup import escape

from contracts.models import LiveModel
from services.common.process.exit_codes import INCOMPLETE
from services.common.settings import Settings
from services.local.contents import SAMPLE, SHIPPED_ARMS, CatalogueState, Contents, catalogue_state, live_models
from services.local.errors import PartFailed
from services.local.jobs import run_job
from services.local.layout import Layout
from services.local.screen import Steps

SHIPPED: Final = (SAMPLE, "synthetic")


def check_catalogue(settings: Settings) -> None:
    """Raise FileNotFoundError with what to do, before anything starts, when the catalogue asked for is not there."""
    asked = settings.local.catalogue
    if asked not in SHIPPED and not Path(asked).is_file():
        raise FileNotFoundError(
            f"there is no file {asked}: ANIMUSIC_LOCAL__CATALOGUE (make run CATALOGUE=...) takes "
            f"{', '.join(SHIPPED)}, or the path of a CSV file"
        )


async def fill(settings: Settings, layout: Layout, steps: Steps) -> None:
    """Import the catalogue that the settings ask for when there is none (or another one), then the missing models.

    A model that cannot be built is reported and left out: playlists lack its arm, and the next start retries.
    Raises PartFailed with the end of the job's log when the catalogue cannot be imported.
    """
    contents = Contents(layout)
    state = await _catalogue(settings, layout, contents, steps)
    live = await live_models(settings.kafka)
    stale, shipped = contents.stale_arms(settings, state, live), contents.shipped_arms(settings, state, live)
    if not stale and not shipped:
        steps.say(f"[green]✓[/green] models: {', '.join(sorted(live))}")
    else:
        built, imported = await asyncio.gather(_all_built(stale, layout, steps), _imported(shipped, layout, steps))
        kept, live = set(live) - set(stale), await live_models(settings.kafka)
        contents.note_models(state, {arm: model.version for arm, model in live.items() if arm in kept | built})
        if imported:
            contents.note_shipped(state, live)
    await _restore_vectors(settings, layout, contents, live, steps)
    _say_missing_encoder(contents.without_vectors(live), steps)


async def _restore_vectors(
    settings: Settings, layout: Layout, contents: Contents, live: dict[str, LiveModel], steps: Steps
) -> None:
    """Rebuild the vectors of live sentence models where this machine can, as after a restore."""
    for arm in contents.lost_arms(settings, live):
        try:
            with steps.step(f"model {arm}", "restoring its vectors") as step:
                await run_job("vectors", _restore_command(settings, live[arm]), layout)
                step.done("its vectors are restored")
        except PartFailed as failure:
            advice = f"Playlists come without {arm}; `animusic status` names the command that restores it."
            steps.say(f"{escape(str(failure))}\n{advice}")


def _restore_command(settings: Settings, model: LiveModel) -> tuple[str, ...]:
    """The command that rebuilds a live version of a sentence model, from cached vectors if there are any."""
    kept = settings.embeddings_dir / f"{model.arm}-{model.params['revision']}.sqlite"
    if not kept.is_file() and model.arm in SHIPPED_ARMS:
        return "models", "import", SAMPLE, "--arm", model.arm, "--as-live"
    return "models", "build", model.arm, "--as-live"


def _say_missing_encoder(missing: Sequence[str], steps: Steps) -> None:
    if missing:
        steps.say(
            f"  {' and '.join(missing)}: not built for this catalogue; `animusic models build {' '.join(missing)}` "
            "encodes it (once `make neural` has brought torch), `animusic models import FILE` takes ready vectors"
        )


async def _all_built(arms: Sequence[str], layout: Layout, steps: Steps) -> set[str]:
    """Build one after the other; returns those that succeeded."""
    return {arm for arm in arms if await _built(arm, layout, steps)}


async def _imported(arms: Sequence[str], layout: Layout, steps: Steps) -> bool:
    """Make models of the shipped vectors; returns whether any were made."""
    if not arms:
        return False
    only = [word for arm in arms for word in ("--arm", arm)]
    try:
        with steps.step(f"models {', '.join(arms)}", "importing the shipped vectors") as step:
            await run_job("vectors", ("models", "import", SAMPLE, *only), layout)
            step.done("shipped vectors, live")
    except PartFailed as failure:
        steps.say(f"{escape(str(failure))}\nPlaylists come without {', '.join(arms)}; the next start tries again.")
        return False
    return True


async def _built(arm: str, layout: Layout, steps: Steps) -> bool:
    try:
        with steps.step(f"model {arm}", "building") as step:
            await run_job("models", ("models", "build", arm, "--as-live"), layout)
            step.done("built and live")
    except PartFailed as failure:
        steps.say(f"{escape(str(failure))}\nPlaylists come without {arm}; the next start tries again.")
        return False
    return True


async def _catalogue(settings: Settings, layout: Layout, contents: Contents, steps: Steps) -> CatalogueState:
    asked, loaded = settings.local.catalogue, contents.catalogue
    state = await catalogue_state(settings.kafka)
    if not state.empty and not _must_import(settings, loaded):
        steps.say(f"[green]✓[/green] catalogue: {escape(loaded or 'what was imported before')}")
        return state
    # Another catalogue replaces the loaded one; feedback on its songs stays. A changed file of the same name may be
    # broken, so it may withdraw only few songs.
    alone = () if state.empty else ("--withdraw-missing",) if asked == loaded else ("--withdraw-missing", "--yes")
    with steps.step("catalogue", f"importing {asked}") as step:
        in_part = await _imported_in_part(asked, alone, settings, layout)
        step.done(
            f"{asked}, in part" if in_part else asked if loaded in (None, asked) else f"{asked} in place of {loaded}"
        )
    if in_part is None:
        contents.note_catalogue(asked)
    else:
        steps.say(f"{escape(str(in_part))}\nWhat could be read of {asked} is served; the next start reads it again.")
    return await catalogue_state(settings.kafka)


async def _imported_in_part(asked: str, alone: Sequence[str], settings: Settings, layout: Layout) -> PartFailed | None:
    """Import; returns why only a part was imported, None when all was. Raises PartFailed when no song can be served."""
    try:
        await run_job("catalogue", ("catalogue", "import", asked, *alone), layout)
    except PartFailed as failure:
        if failure.status != INCOMPLETE or (await catalogue_state(settings.kafka)).empty:
            raise
        return failure
    return None


def _must_import(settings: Settings, loaded: str | None) -> bool:
    """Whether to replace the catalogue in the log: only by one that the settings name explicitly.

    A file may have changed since; importing it again unchanged writes nothing.
    """
    asked = settings.local.catalogue
    by_name = "catalogue" in settings.local.model_fields_set
    return by_name and (asked != loaded or asked not in SHIPPED)
