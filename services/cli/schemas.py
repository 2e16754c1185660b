"""`animusic schemas`: the contracts as JSON Schema, for clients that are not written in Python."""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import BaseModel, TypeAdapter

from contracts import http
from contracts.catalogue import Song, WithdrawnSong
from contracts.events import ClientEvent, FeedbackEvent
from contracts.ledger import LEDGER_RECORD
from contracts.model_builds import ModelBuild
from contracts.models import LiveModel
from contracts.playlists import ServedPlaylist
from contracts.profiles import PROFILE_RECORD
from contracts.topics import CATALOGUE, FEEDBACK, LEDGER, MODEL_BUILDS, MODELS, PLAYLISTS, PROFILES

DIRECTORY: Final = Path(__file__).resolve().parents[2] / "contracts" / "schemas"

# What the records of each topic are; dead letters are any bytes, their contract is the headers.
RECORDS: Final[dict[str, TypeAdapter[Any]]] = {
    FEEDBACK.name: TypeAdapter(FeedbackEvent),
    PLAYLISTS.name: TypeAdapter(ServedPlaylist),
    PROFILES.name: PROFILE_RECORD,
    CATALOGUE.name: TypeAdapter(Song | WithdrawnSong),
    MODELS.name: TypeAdapter(LiveModel),
    MODEL_BUILDS.name: TypeAdapter(ModelBuild),
    LEDGER.name: LEDGER_RECORD,
}


def command(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail when a file is stale.")] = False,
    check_compatible: Annotated[
        bool, typer.Option("--check-compatible", help="Write nothing; fail when a published schema would break.")
    ] = False,
) -> None:
    """Generate the JSON Schemas of every record and HTTP body into contracts/schemas.

    What is published (contracts/published) follows by compatible additions; a breaking change is refused.
    """
    from services.cli import published

    broken = published.broken_promises(published.DIRECTORY)
    if broken:
        raise RuntimeError("\n  ".join(["these changes would lose what is published:", *broken, published.REMEDY]))
    if check_compatible:
        print(f"compatible with all of {published.DIRECTORY}")
        return
    wanted = ((DIRECTORY, generated()), (published.DIRECTORY, published.proposed()))
    stale = {path: text for directory, texts in wanted for path, text in stale_files(directory, texts).items()}
    if check and stale:
        names = ", ".join(sorted(path.name for path in stale))
        raise RuntimeError(f"stale in contracts: {names}. `animusic schemas` writes them anew.")
    for path, text in stale.items():
        _write(path, text)
    print(f"{len(generated())} schemas in {DIRECTORY}, {len(stale)} files {'stale' if check else 'written'}")


def generated() -> dict[str, str]:
    """Relative path -> text of every schema: `topics/<topic>.json` and `http/<body>.json`."""
    texts = {f"topics/{topic}.json": titled(topic, adapter.json_schema()) for topic, adapter in RECORDS.items()}
    texts["http/ClientEvent.json"] = titled("ClientEvent", ClientEvent.model_json_schema())
    for name, body in bodies():
        texts[f"http/{name}.json"] = titled(name, body.model_json_schema())
    return texts


def bodies() -> Iterator[tuple[str, type[BaseModel]]]:
    """The HTTP bodies that `contracts.http` itself defines, by name."""
    for name, member in inspect.getmembers(http, inspect.isclass):
        if issubclass(member, BaseModel) and member.__module__ == http.__name__ and member is not http.Body:
            yield name, member


def stale_files(directory: Path, texts: dict[str, str] | None = None) -> dict[Path, str | None]:
    """File -> the text that it should have (None: it should not exist), of every file that differs.

    `texts`: relative path -> text of every file that should be there; the generated schemas where it is not given.
    """
    texts = generated() if texts is None else texts
    wanted: dict[Path, str | None] = {directory / name: text for name, text in texts.items()}
    there = {path: path.read_text(encoding="utf-8") for path in directory.rglob("*.json")}
    stale: dict[Path, str | None] = {path: text for path, text in wanted.items() if there.get(path) != text}
    stale.update((path, None) for path in there if path not in wanted)
    return stale


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def titled(name: str, schema: dict[str, Any]) -> str:
    """The text of a schema's file."""
    named = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": name, **schema}
    return json.dumps(named, indent=2, ensure_ascii=False) + "\n"
