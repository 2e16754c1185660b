"""The catalogue as the log holds it now: the last record of each song."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from contracts.catalogue import Song, WithdrawnSong, catalogue_digest
from contracts.records import CATALOGUE_VERSIONS
from contracts.topics import CATALOGUE
from services.common.kafka import read_to_end
from services.common.settings import KafkaSettings


@dataclass
class CatalogueLog:
    """Songs by id, with the bytes that the log holds for each, and the ids of those that were withdrawn.

    `merged`: id of a withdrawn record -> the song that it was merged into. `former`: alias of a withdrawn song -> its
    id.
    `unreadable` counts records that are neither; they are passed over.
    """

    songs: dict[str, Song] = field(default_factory=dict)
    values: dict[str, bytes] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)
    merged: dict[str, str] = field(default_factory=dict)
    former: dict[str, str] = field(default_factory=dict)
    unreadable: int = 0

    def _note_withdrawn(self, song_id: str, record: WithdrawnSong | Song | None) -> None:
        if isinstance(record, WithdrawnSong) and record.merged_into is not None:
            self.merged[song_id] = record.merged_into
        elif isinstance(record, WithdrawnSong):
            self.former.update(dict.fromkeys(record.aliases, song_id))

    def find(self, song_id: str) -> Song | None:
        """The song with this id or alias. An id that is a song's own means that song."""
        return self.songs.get(song_id) or next((s for _, s in sorted(self.songs.items()) if song_id in s.aliases), None)

    def digest(self) -> str:
        """32 hex digits of all songs that are served."""
        return catalogue_digest(self.values)

    def apply(self, records: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Fold (key, value) records in log order: the last of a song counts, a tombstone withdraws it as well.

        Raises NewerSchema.
        """
        last = {key.decode(): value for key, value in records if key is not None}
        for song_id, value in last.items():
            try:
                record = None if value is None else CATALOGUE_VERSIONS.read(value)
            except ValidationError:
                self.unreadable += 1
                continue
            if isinstance(record, Song) and value is not None:
                self.songs[song_id], self.values[song_id] = record, value
                self.withdrawn.discard(song_id)
                self.merged.pop(song_id, None)
            else:
                self.songs.pop(song_id, None)
                self.values.pop(song_id, None)
                self.withdrawn.add(song_id)
                self._note_withdrawn(song_id, record)


async def read_catalogue(settings: KafkaSettings) -> CatalogueLog:
    """The catalogue topic from its start to its end as of now. Raises LookupError without the topic, NewerSchema."""
    found = CatalogueLog()
    records: list[Any] = []
    async for batch in read_to_end(settings, CATALOGUE.name):
        records.extend((record.key, record.value) for record in batch)
    found.apply(records)
    return found
