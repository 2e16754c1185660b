"""Groups rows that are one song. Deterministic: the same rows in any order give the same songs, byte for byte.

Two rows are the same song when
1. AniDB gives both the same song id, or
2. neither has an AniDB id, and they share anime and normalised title (an opening that is also the ending), or
3. they share normalised title and the same non-empty set of normalised singers, and AniDB does not tell them apart:
   songs without an AniDB id join each other and the one AniDB song of that title and singers, if there is exactly one.

Titles alone never join songs of different anime ("Hikari" is many songs); unknown singers never do.

The song takes AniDB's id, else the id by its first appearance. Appearances stand in the order of MyAnimeList's ids,
which grow with time: a sequel that uses the song again comes behind and does not rename it. Anime without an id come
last.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from collectors.entries import Entry
from contracts.catalogue import Appearance, Credits, Link, Song

_NO_MAL_ID: Final = 1 << 60
_RELATIONS: Final = {"opening": 0, "ending": 1, "insert song": 2}


def merged(entries: Iterable[Entry], *, made_up: bool = False) -> list[Song]:
    """One song for each group of entries that are the same song, ordered by song id."""
    by_id: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_id[entry.song_id].append(entry)
    songs = [_song(group, made_up) for group in _joined(by_id)]
    return sorted(songs, key=lambda song: song.song_id)


def _joined(by_id: dict[str, list[Entry]]) -> list[list[Entry]]:
    """Groups joined by rule 3, as a union of sets: joining is transitive, so no order of rows shows through."""
    parent = {song_id: song_id for song_id in by_id}

    def root(song_id: str) -> str:
        while parent[song_id] != song_id:
            parent[song_id] = parent[parent[song_id]]
            song_id = parent[song_id]
        return song_id

    for first, *others in _same_performance(by_id):
        for other in others:
            parent[root(other)] = root(first)
    groups: dict[str, list[Entry]] = defaultdict(list)
    for song_id, group in by_id.items():
        groups[root(song_id)].extend(group)
    return [part for group in groups.values() for part in _split_by_anidb(group)]


def _same_performance(by_id: dict[str, list[Entry]]) -> list[list[str]]:
    sharing: dict[object, set[str]] = defaultdict(set)
    named_by_anidb = {song_id for song_id, group in by_id.items() if group[0].anidb_id is not None}
    for song_id, group in by_id.items():
        for entry in group:
            if entry.performance is not None:
                sharing[entry.performance].add(song_id)
    ambiguous = [ids - named_by_anidb if len(ids & named_by_anidb) > 1 else ids for ids in sharing.values()]
    return [sorted(ids) for ids in ambiguous if len(ids) > 1]


def _split_by_anidb(group: list[Entry]) -> list[list[Entry]]:
    """A chain of joins may tie two AniDB songs together: then AniDB's word counts, and the rest stay by themselves."""
    if len({entry.anidb_id for entry in group if entry.anidb_id is not None}) <= 1:
        return [group]
    parts: dict[str, list[Entry]] = defaultdict(list)
    for entry in group:
        parts[entry.song_id].append(entry)
    return list(parts.values())


def _song(group: Sequence[Entry], made_up: bool) -> Song:
    ordered = sorted(group, key=_order)
    first = ordered[0]
    named = [entry for entry in ordered if entry.anidb_id is not None]
    appearances = (Appearance(anime=e.anime, relation=e.relation, episodes=e.episodes) for e in ordered)
    use = {(a.anime.anime_id, a.relation, a.episodes): a for a in appearances}
    return Song(
        song_id=(named or ordered)[0].song_id,
        title=first.title,
        appearances=tuple(use.values()),
        credits=Credits(**{role: _all_of(getattr(e.credits, role) for e in ordered) for role in Credits.model_fields}),
        tags=_all_of(entry.tags for entry in ordered),
        rating=next((entry.rating for entry in ordered if entry.rating is not None), None),
        source_url=next((entry.source_url for entry in ordered if entry.source_url), None),
        links=_links(entry.link for entry in ordered),
        made_up=made_up,
    )


def _order(entry: Entry) -> tuple[int, str, int, str, str, str]:
    """The last part, everything that the row says, leaves no two different rows in the order of the file."""
    number = entry.anime.mal_id or _NO_MAL_ID
    relation = _RELATIONS.get(entry.relation, len(_RELATIONS))
    return number, entry.anime.anime_id, relation, entry.relation, entry.episodes or "", repr(entry)


def _all_of(lists: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for values in lists for value in values))


def _links(links: Iterable[Link | None]) -> tuple[Link, ...]:
    """Each video once, with the highest counts seen of it; the most viewed first, unknown views last, then by id."""
    best: dict[str, Link] = {}
    for link in links:
        if link is not None:
            old = best.get(link.id, link)
            views, likes = _higher(old.views, link.views), _higher(old.likes, link.likes)
            best[link.id] = link.model_copy(update={"views": views, "likes": likes})
    return tuple(sorted(best.values(), key=lambda link: (link.views is None, -(link.views or 0), link.id)))


def _higher(one: int | None, other: int | None) -> int | None:
    known = [count for count in (one, other) if count is not None]
    return max(known, default=None)
