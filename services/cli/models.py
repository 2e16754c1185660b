"""`animusic models …`: build the vectors of songs, see which are live, go forth and back between versions.

Every verb has a file of its own, imported when it is asked for: some bring numerics that take a second.
"""

from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

# Verb -> (module in this package, function).
VERBS: Final[dict[str, tuple[str, str]]] = {
    "build": ("models_build", "command"),
    "list": ("models_list", "command"),
    "compare": ("models_compare", "command"),
    "switch": ("models_switch", "switch"),
    "rollback": ("models_switch", "rollback"),
    "prune": ("models_switch", "prune_"),
    "watch": ("models_watch", "command"),
    "evaluate": ("models_evaluate", "command"),
    "export": ("models_travel", "export"),
    "import": ("models_travel", "import_"),
    "load-random": ("models_build", "load_random"),
}
_HIDDEN: Final = frozenset({"load-random"})


class _Verbs(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        """The verbs in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One verb; None where there is none of that name."""
        return _mounted(cmd_name) if cmd_name in VERBS else None


def _mounted(name: str) -> Any:
    module, function = VERBS[name]
    single = typer.Typer(add_completion=False)
    single.command(name, hidden=name in _HIDDEN)(getattr(import_module(f"services.cli.{module}"), function))
    command: Any = get_command(single)
    command.name = name
    return command


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    help="The vectors of songs: build them, and see which are live, go forth and back.",
)


@app.callback()
def _models() -> None:
    """The vectors of songs: build them, see which are live, go forth and back between versions."""
