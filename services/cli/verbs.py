"""Groups of commands. Each file is imported on use: importing all costs every child process seconds."""

import re
import shutil
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

_NARROW: Final = 80


class Verb(NamedTuple):
    """A command's file in this package, and its function where the file is not a group of commands.

    `panel`: of the help, in which it stands. `hidden`: the help does not name it.
    """

    module: str
    function: str = "command"
    panel: str | None = None
    hidden: bool = False


def group_of(verbs: Mapping[str, Verb]) -> type[TyperGroup]:
    """The class of a group of these commands, which the help lists in this order."""

    class Verbs(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            """The commands in the order of the help."""
            return list(verbs)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            """One command; None where there is none of that name."""
            verb = verbs.get(cmd_name)
            return None if verb is None else _mounted(cmd_name, verb)

    return Verbs


def _mounted(name: str, verb: Verb) -> Any:
    """The Typer command of a file: its group `app`, or its function. (Typer's own types are not public.)"""
    module = import_module(f"services.cli.{verb.module}")
    command: Any
    if hasattr(module, verb.function):
        single = typer.Typer(add_completion=False)
        single.command(name, hidden=verb.hidden)(getattr(module, verb.function))
        command = get_command(single)
    else:
        command = get_group(module.app)
    command.name = name
    command.rich_help_panel = verb.panel
    return readable(command)


def readable(command: Any) -> Any:
    """The command with its subcommands, with help that is not cut on narrow terminals."""
    # A line break of a docstring is none of the sentence; only an empty line begins another paragraph.
    command.help = re.sub(r"(?<!\n)\n(?!\n)", " ", command.help or "")
    if shutil.get_terminal_size().columns < _NARROW:
        # In rich's frames long names of options are cut there.
        command.rich_markup_mode = None
    for inner in getattr(command, "commands", {}).values():
        readable(inner)
    return command
