"""`animusic`: mounts the commands, and turns an error into one sentence and an exit code."""

import logging
import os
import sys
from typing import Final

import typer
from typer.main import get_command

from services.cli.surroundings import normalise_environment
from services.cli.verbs import Verb, group_of, readable

VERBS: Final[dict[str, Verb]] = {
    "run": Verb("run", panel="Run it"),
    "serve": Verb("serve", panel="Run it"),
    "topics": Verb("topics", panel="Run it"),
    "catalogue": Verb("catalogue", panel="Fill it"),
    "models": Verb("models", panel="Fill it"),
    "sql": Verb("sql", panel="Ask it"),
    "trace": Verb("trace", panel="Ask it"),
    "report": Verb("report", panel="Ask it"),
    "status": Verb("status", panel="Ask it"),
    "ledger": Verb("ledger", panel="Ask it"),
    "verify": Verb("verify", panel="Ask it"),
    "backup": Verb("backup", panel="Repair it"),
    "restore": Verb("restore", panel="Repair it"),
    "dlq": Verb("dlq", panel="Repair it"),
    "replay": Verb("replay", panel="Repair it"),
    "generations": Verb("generations", panel="Repair it"),
    "settings": Verb("settings", panel="Inspect it"),
    "schemas": Verb("schemas", panel="Inspect it"),
}


app = typer.Typer(
    cls=group_of(VERBS),
    name="animusic",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def _animusic() -> None:
    """Anime songs that follow what you like: an event log, views of it, and playlists from six arms.

    `animusic run` starts everything on this machine; the other verbs find what it started by ANIMUSIC_DATA_DIR
    (default: .animusic in the current directory). `animusic settings` lists every setting.
    """


def main() -> None:
    """The command. An error becomes one sentence on standard error; ANIMUSIC_LOG_LEVEL=DEBUG keeps its traceback."""
    normalise_environment()
    # A client logs every retry; the error at the end says it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        readable(get_command(app))(prog_name="animusic")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # `animusic … | head`: the reader closed the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if os.environ.get("ANIMUSIC_LOG_LEVEL", "").upper() == "DEBUG":
            raise
        sys.exit(_print_error(error))


def _print_error(error: Exception) -> int:
    """Say what went wrong; the exit code."""
    from services.cli.errors import explain

    sentence, code, expected = explain(error)
    if not expected:
        logging.getLogger(__name__).error("unexpected error", exc_info=error)
    print(f"animusic: {sentence}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
