"""The schemas that others rely on, frozen: what they promise is held against what the contracts say now.

`contracts/published` has a file for each version of each published topic, for each body that clients post, and what
published events mean. A file there only ever changes by compatible additions.
"""

import json
from pathlib import Path
from typing import Any, Final

from contracts.evolution.compatible import breaks
from contracts.evolution.meanings import meaning, specimens
from contracts.records import VERSIONS
from contracts.topics import CATALOGUE, FEEDBACK, MODELS, PLAYLISTS, PROFILES
from services.cli.schemas import generated, titled

DIRECTORY: Final = Path(__file__).resolve().parents[2] / "contracts" / "published"
MEANINGS: Final = "meanings.json"
# What lies in logs and clients that we do not have in our hands. A topic that is not here yet may still change freely.
TOPICS: Final = (FEEDBACK.name, PLAYLISTS.name, PROFILES.name, CATALOGUE.name, MODELS.name)
BODIES: Final = (
    "ClientEvent", "EventsBody", "AnimeListBody", "NewSession", "NewPlaylist", "RestOfPlaylist", "PaperFeedback",
    "PaperProfile",
)  # fmt: skip
REMEDY: Final = (
    "What is published does not change: old records and clients stay. Undo this, or make it an addition that they "
    "survive (an optional field), or add a new version with an upcaster: docs/tasks/add-an-event.md says how."
)


def proposed(directory: Path = DIRECTORY) -> dict[str, str]:
    """Relative path -> text of every published file as the contracts say it now; a published meaning stays."""
    texts = {
        f"topics/{topic}/{version}.json": titled(f"{topic} version {version}", adapter.json_schema())
        for topic in TOPICS
        for version, adapter in VERSIONS[topic].adapters.items()
    }
    bodies = generated()
    texts.update((f"http/{name}.json", bodies[f"http/{name}.json"]) for name in BODIES)
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
            found.append(f"{name}: is published, and nothing reads it any more")
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
