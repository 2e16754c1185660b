"""`animusic models …`: build the vectors of songs, list them, switch and roll back versions."""

from typing import Final

import typer

from services.cli.verbs import Verb, group_of

VERBS: Final[dict[str, Verb]] = {
    "build": Verb("models_build"),
    "list": Verb("models_list"),
    "compare": Verb("models_compare"),
    "switch": Verb("models_switch", "switch"),
    "rollback": Verb("models_switch", "rollback"),
    "prune": Verb("models_switch", "prune_"),
    "watch": Verb("models_watch"),
    "evaluate": Verb("models_evaluate"),
    "export": Verb("models_export", "export"),
    "import": Verb("models_export", "import_"),
    "load-random": Verb("models_build", "load_random", hidden=True),
}

app = typer.Typer(
    cls=group_of(VERBS),
    no_args_is_help=True,
    help="The vectors of songs: build them, list them, switch and roll back versions.",
)


@app.callback()
def _models() -> None:
    """The vectors of songs: build them, list them, switch and roll back versions."""
