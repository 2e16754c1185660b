"""`animusic schemas`: the contracts as JSON Schema, for clients in other languages.

Each schema lies in one of two places. `contracts/published` has what others rely on, frozen: a file for each version of
each published topic, for each body that clients post, and what published events mean. A file there only ever changes by
compatible additions. `contracts/schemas` has the rest, which may change freely.
"""

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import BaseModel, TypeAdapter

from contracts import http
from contracts.events import ClientEvent
from contracts.evolution.compatible import breaks
from contracts.evolution.meanings import meaning, specimens
from contracts.records import VERSIONS
from contracts.topics import CATALOGUE, FEEDBACK, MODELS, PLAYLISTS, PROFILES

CONTRACTS: Final = Path(__file__).resolve().parents[2] / "contracts"
SCHEMAS: Final = CONTRACTS / "schemas"
PUBLISHED: Final = CONTRACTS / "published"
MEANINGS: Final = "meanings.json"
# Their records lie in logs and clients of others. Topics that are missing here may still change freely.
PUBLISHED_TOPICS: Final = (FEEDBACK.name, PLAYLISTS.name, PROFILES.name, CATALOGUE.name, MODELS.name)
PUBLISHED_BODIES: Final = (
    "ClientEvent", "EventsBody", "AnimeListBody", "NewSession", "NewPlaylist", "RestOfPlaylist", "PaperFeedback",
    "PaperProfile",
)  # fmt: skip
REMEDY: Final = (
    "A published schema must not break: old records and clients stay. Undo this, or make it an addition that they "
    "survive (an optional field), or add a new version with an upcaster: docs/tasks/add-an-event.md says how."
)

# What the records of each topic are now; dead letters are any bytes, their contract is the headers.
RECORDS: Final[dict[str, TypeAdapter[Any]]] = {
    topic: versions.adapters[versions.newest] for topic, versions in VERSIONS.items()
}


def command(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail when a file is stale.")] = False,
    check_compatible: Annotated[
        bool, typer.Option("--check-compatible", help="Write nothing; fail when a published schema would break.")
    ] = False,
) -> None:
    """Generate the JSON Schemas of every record and HTTP body into contracts/schemas and contracts/published.

    What is published follows by compatible additions; a breaking change is refused.
    """
    broken = broken_promises(PUBLISHED)
    if broken:
        raise RuntimeError("\n  ".join(["these changes would lose what is published:", *broken, REMEDY]))
    if check_compatible:
        print(f"compatible with all of {PUBLISHED}")
        return
    wanted = ((SCHEMAS, unpublished()), (PUBLISHED, proposed()))
    stale = {path: text for directory, texts in wanted for path, text in stale_files(directory, texts).items()}
    if check and stale:
        names = ", ".join(sorted(path.name for path in stale))
        raise RuntimeError(f"stale in contracts: {names}. `animusic schemas` writes them anew.")
    for path, text in stale.items():
        _write(path, text)
    count = sum(len(texts) for _, texts in wanted)
    print(f"{count} files in {SCHEMAS} and {PUBLISHED}, {len(stale)} {'stale' if check else 'written'}")


# ---- the schemas that the contracts say now -------------------------------------------------------------------------


def generated() -> dict[str, str]:
    """Relative path -> text of every current schema: `topics/<topic>.json` and `http/<body>.json`."""
    texts = {f"topics/{topic}.json": titled(topic, adapter.json_schema()) for topic, adapter in RECORDS.items()}
    texts["http/ClientEvent.json"] = titled("ClientEvent", ClientEvent.model_json_schema())
    for name, body in bodies():
        texts[f"http/{name}.json"] = titled(name, body.model_json_schema())
    return texts


def unpublished() -> dict[str, str]:
    """`generated`, less what `contracts/published` holds."""
    published = {f"topics/{topic}.json" for topic in PUBLISHED_TOPICS} | {f"http/{n}.json" for n in PUBLISHED_BODIES}
    return {name: text for name, text in generated().items() if name not in published}


def bodies() -> Iterator[tuple[str, type[BaseModel]]]:
    """The HTTP bodies that `contracts.http` itself defines, by name."""
    for name, member in inspect.getmembers(http, inspect.isclass):
        if issubclass(member, BaseModel) and member.__module__ == http.__name__ and member is not http.Body:
            yield name, member


def stale_files(directory: Path, texts: Mapping[str, str]) -> dict[Path, str | None]:
    """File -> the text that it should have (None: it should not exist), of every file that differs.

    `texts`: relative path -> text of every file that should be there.
    """
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


# ---- what is published ----------------------------------------------------------------------------------------------


def proposed(directory: Path = PUBLISHED) -> dict[str, str]:
    """Relative path -> text of every published file as the contracts say it now; a published meaning stays."""
    texts = {
        f"topics/{topic}/{version}.json": titled(f"{topic} version {version}", adapter.json_schema())
        for topic in PUBLISHED_TOPICS
        for version, adapter in VERSIONS[topic].adapters.items()
    }
    bodies = generated()
    texts.update((f"http/{name}.json", bodies[f"http/{name}.json"]) for name in PUBLISHED_BODIES)
    kept = _published_meanings(directory)
    known = [entry["record"] for entry in kept]
    new = [{"record": record, "writes": meaning(record)} for record in specimens() if record not in known]
    texts[MEANINGS] = _lines([*kept, *new])
    return texts


def _published_meanings(directory: Path) -> list[dict[str, Any]]:
    path = directory / MEANINGS
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return found


def broken_promises(directory: Path) -> list[str]:
    """One sentence for each change since `directory` was published that would lose records, clients or meanings."""
    now = proposed()
    found = []
    for path in sorted(directory.rglob("*.json")):
        name = path.relative_to(directory).as_posix()
        old = json.loads(path.read_text(encoding="utf-8"))
        if name == MEANINGS:
            found += [f"{name}: {sentence}" for sentence in changed_meanings(old)]
        elif name not in now:
            found.append(f"{name}: is published, but no code reads it any more")
        else:
            found += [f"{name}: {broken}" for broken in breaks(old, json.loads(now[name]))]
    return found


def changed_meanings(published: list[dict[str, Any]]) -> list[str]:
    """One sentence for each published event that would write other registers now."""
    found = []
    for entry in published:
        record = entry["record"]
        try:
            same = meaning(record) == entry["writes"]
        except ValueError as error:
            found.append(f"a published {record['kind']} event would be refused: {error}")
            continue
        if not same:
            found.append(f"a {record['kind']} event ({record['event_id']}) would write other registers than it did")
    return found


def _lines(entries: list[dict[str, Any]]) -> str:
    return "[\n" + ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries) + "\n]\n"
