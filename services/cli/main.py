"""`animusic`: mounts the verbs, and turns what went wrong into one sentence and an exit code."""

import logging
import os
import sys
from importlib.util import find_spec

import typer

from services.cli import run, schemas, serve, settings, topics
from services.cli.errors import explain

app = typer.Typer(
    name="animusic",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Anime songs that follow what you like: an event log, views of it, and playlists from six arms.\n\n"
    "[bold]animusic run[/bold] starts everything on this machine; the other verbs find what it started by "
    "ANIMUSIC_DATA_DIR (default: .animusic in the current directory). [bold]animusic settings[/bold] lists every "
    "setting.",
)

_RUN, _ASK, _FILL, _KNOW = "Run it", "Ask it", "Fill it", "Know it"

app.command("run", rich_help_panel=_RUN)(run.command)
app.add_typer(serve.app, name="serve", rich_help_panel=_RUN)
app.command("topics", rich_help_panel=_RUN)(topics.command)
app.command("settings", rich_help_panel=_KNOW)(settings.command)
app.command("schemas", rich_help_panel=_KNOW)(schemas.command)

if find_spec("services.cli.catalogue"):
    from services.cli import catalogue

    app.add_typer(catalogue.app, name="catalogue", rich_help_panel=_FILL)
if find_spec("services.cli.models"):
    from services.cli import models

    app.add_typer(models.app, name="models", rich_help_panel=_FILL)
if find_spec("services.cli.sql"):
    from services.cli import sql

    app.command("sql", rich_help_panel=_ASK)(sql.command)
if find_spec("services.cli.trace"):
    from services.cli import trace

    app.command("trace", rich_help_panel=_ASK)(trace.command)
if find_spec("services.cli.doctor"):
    from services.cli import doctor

    app.command("doctor", rich_help_panel=_ASK)(doctor.command)


def main() -> None:
    """The command. An error becomes one sentence on standard error; ANIMUSIC_LOG_LEVEL=DEBUG keeps its traceback."""
    # A client that retries says so at every try; the sentence at the end says it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if os.environ.get("ANIMUSIC_LOG_LEVEL", "").upper() == "DEBUG":
            raise
        sentence, code, expected = explain(error)
        if not expected:
            logging.getLogger(__name__).error("this should not have happened", exc_info=error)
        print(f"animusic: {sentence}", file=sys.stderr)
        sys.exit(code)


if __name__ == "__main__":
    main()
