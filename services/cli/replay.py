"""`animusic replay …`: rebuilds views from the log beside the live ones."""

from typing import Final

import typer

from services.cli.verbs import Verb, group_of

VERBS: Final[dict[str, Verb]] = {
    "profiles": Verb("replay_profiles"),
    "warehouse": Verb("replay_warehouse"),
    "catalogue": Verb("replay_served", "catalogue"),
    "models": Verb("replay_served", "models"),
    "playlists": Verb("replay_playlists"),
}

app = typer.Typer(
    cls=group_of(VERBS),
    no_args_is_help=True,
    help="Build views of the log anew, beside the live ones, compare, and switch.",
)


@app.callback()
def _replay() -> None:
    """Rebuild a view from the log. The live one stays live until the new one equals it."""
