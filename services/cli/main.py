"""`animusic`: mounts the verbs, and turns what went wrong into one sentence and an exit code."""

import logging
import os
import sys
from importlib import import_module
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group


class Verb(NamedTuple):
    """A verb's file in this package, and the panel of the help that it stands in."""

    module: str
    panel: str


VERBS: Final[dict[str, Verb]] = {
    "run": Verb("run", "Run it"),
    "serve": Verb("serve", "Run it"),
    "topics": Verb("topics", "Run it"),
    "catalogue": Verb("catalogue", "Fill it"),
    "models": Verb("models", "Fill it"),
    "sql": Verb("sql", "Ask it"),
    "trace": Verb("trace", "Ask it"),
    "report": Verb("report", "Ask it"),
    "status": Verb("status", "Ask it"),
    "ledger": Verb("ledger", "Ask it"),
    "doctor": Verb("doctor", "Ask it"),
    "verify": Verb("verify", "Ask it"),
    "backup": Verb("backup", "Mend it"),
    "restore": Verb("restore", "Mend it"),
    "dlq": Verb("dlq", "Mend it"),
    "replay": Verb("replay", "Mend it"),
    "generations": Verb("generations", "Mend it"),
    "settings": Verb("settings", "Know it"),
    "schemas": Verb("schemas", "Know it"),
}


class Verbs(TyperGroup):
    """The verbs, each imported when it is asked for: together they cost two seconds, and every child would pay them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The verbs in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One verb; None where there is none of that name."""
        verb = VERBS.get(cmd_name)
        return None if verb is None else _mounted(cmd_name, verb)


def _mounted(name: str, verb: Verb) -> Any:
    """The command of a verb's file: its group `app`, or its function `command`. (Typer's own types are not public.)"""
    module = import_module(f"services.cli.{verb.module}")
    command: Any
    if hasattr(module, "app"):
        command = get_group(module.app)
    else:
        single = typer.Typer(add_completion=False)
        single.command(name)(module.command)
        command = get_command(single)
    command.name = name
    command.rich_help_panel = verb.panel
    return command


app = typer.Typer(
    cls=Verbs,
    name="animusic",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def _animusic() -> None:
    """Anime songs that follow what you like: an event log, views of it, and playlists from six arms.

    [bold]animusic run[/bold] starts everything on this machine; the other verbs find what it started by
    ANIMUSIC_DATA_DIR (default: .animusic in the current directory). [bold]animusic settings[/bold] lists every setting.
    """


def main() -> None:
    """The command. An error becomes one sentence on standard error; ANIMUSIC_LOG_LEVEL=DEBUG keeps its traceback."""
    # A client that retries says so at every try; the sentence at the end says it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        app(prog_name="animusic")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if os.environ.get("ANIMUSIC_LOG_LEVEL", "").upper() == "DEBUG":
            raise
        sys.exit(_said(error))


def _said(error: Exception) -> int:
    """Say what went wrong; the exit code."""
    from services.cli.errors import explain

    sentence, code, expected = explain(error)
    if not expected:
        logging.getLogger(__name__).error("this should not have happened", exc_info=error)
    print(f"animusic: {sentence}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
