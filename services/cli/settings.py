"""`animusic settings`: every setting, by the name that the environment knows it by."""

import json
import os
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import typer
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.text import Text

from services.common.settings import Settings

_HIDDEN = "(hidden)"
_PASSWORD = re.compile(r"(://[^:/@]*:)[^@/]*@")


class Line(NamedTuple):
    """One setting. `source` says where `value` comes from."""

    variable: str
    type: str
    default: str
    value: str
    source: Literal["default", "environment", "running system"]
    description: str


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of text.")] = False,
) -> None:
    """List every setting: the variable that sets it, its type, its default, its value now and where that comes from."""
    settings = Settings()
    if as_json:
        print(json.dumps([line._asdict() for _, lines in groups(settings) for line in lines], indent=1))
        return
    console = Console(soft_wrap=True, highlight=False)
    for title, lines in groups(settings):
        console.print(f"\n[bold]{title}[/bold]")
        for line in lines:
            console.print(_text(line))


def groups(settings: Settings) -> Iterator[tuple[str, list[Line]]]:
    """(title, lines) of the root and of each nested group, in the order of the settings tree."""
    fields = Settings.model_fields
    plain = {name: field for name, field in fields.items() if not _is_group(field)}
    yield "The installation.", [_line((name,), field, settings, settings.data_dir) for name, field in plain.items()]
    for name, field in fields.items():
        if _is_group(field):
            group = getattr(settings, name)
            title = (type(group).__doc__ or name).strip()
            inside = type(group).model_fields.items()
            yield title, [_line((name, inner), info, group, settings.data_dir) for inner, info in inside]


def _is_group(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _line(path: tuple[str, ...], field: FieldInfo, holder: BaseModel, data_dir: Path) -> Line:
    value = getattr(holder, path[-1])
    variable = "ANIMUSIC_" + "__".join(path).upper()
    group_variable = f"ANIMUSIC_{path[0]}".upper()
    source: Literal["default", "environment", "running system"] = "default"
    if path[-1] in holder.model_fields_set:
        given = {name.upper() for name in os.environ}
        source = "environment" if {variable, group_variable} & given else "running system"
    description = (field.description or "").replace("<data_dir>", str(data_dir))
    return Line(variable, _type(field.annotation), _shown(field.default), _shown(value), source, description)


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(str(choice) for choice in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join("unset" if arg is type(None) else _type(arg) for arg in get_args(annotation))
    if get_origin(annotation) is list:
        return "JSON list"
    return {
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "true or false",
        "SecretStr": "secret",
    }.get(getattr(annotation, "__name__", ""), getattr(annotation, "__name__", str(annotation)).lower())


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return _HIDDEN
    if value is None:
        return "unset"
    if isinstance(value, bool | list):
        return json.dumps(value)
    return _PASSWORD.sub(r"\1***@", str(value))


def _text(line: Line) -> Text:
    text = Text.assemble(("  " + line.variable, "cyan"), "=", (line.value, "bold"))
    text.append(f"  ({line.type}; default {line.default}" if line.source != "default" else f"  ({line.type}; default")
    text.append(")" if line.source == "default" else f"; from the {line.source})")
    if line.description:
        text.append(f"\n      {line.description}", style="dim")
    return text
