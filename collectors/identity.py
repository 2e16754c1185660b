"""Matches the songs of an import with known songs: a song keeps its id when its record changes.

In three rounds, each over the unmatched songs of the one before:
1. ids: the record's own id, an alias, AniDB's id, or the id that its anime and title would give. Two known songs that
   one new record claims turn out to be one; the other's id becomes an alias.
2. likeness (`collectors.likeness`), where exactly one of each side fits the other.
3. everything else is a new song.

The ids of anime are kept in the same way (`collectors.anime_identity`).
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from collectors.anime_identity import AnimeIds
from collectors.doubts import Candidates
from collectors.likeness import likeness, same_title
from contracts.catalogue import Appearance, Song, earlier_anime_id, normalised, song_id_of

_NO_MAL_ID: Final = 1 << 60
_MOST_PASSES: Final = 8


@dataclass(frozen=True)
class Settled:
    """The songs of an import under the ids that they keep. `merged`: id of a known song -> the song that it became."""

    songs: list[Song]
    merged: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Former:
    """Ids that no song has any more.

    Attributes:
        merged: id of a record -> the song that it was merged into. A later import of that record is of that song.
        withdrawn: alias of a song that was withdrawn -> its id, which it gets again when it comes back.
    """

    merged: Mapping[str, str] = field(default_factory=dict)
    withdrawn: Mapping[str, str] = field(default_factory=dict)


NOTHING_FORMER: Final = Former()


def settled(songs: Sequence[Song], known: Mapping[str, Song], former: Former = NOTHING_FORMER) -> Settled:
    """Give each song the id of the known song that it is. Ids within `songs` must be unique.

    What one pass finds out about anime may let the next recognise a song, so passes follow until nothing changes: the
    same import again then changes nothing.
    """
    now, merged = dict(known), dict(former.merged)
    found = list(songs)
    for _ in range(_MOST_PASSES if known or former.withdrawn else 0):
        once = _pass(songs, now, Former(merged, former.withdrawn))
        found, merged = once.songs, merged | once.merged
        after = {each: song for each, song in now.items() if each not in once.merged} | {s.song_id: s for s in found}
        if after == now:
            break
        now = after
    return Settled(found, {each: _last(merged, each) for each in merged if each in known})


def _last(merged: Mapping[str, str], song_id: str) -> str:
    seen: set[str] = set()
    while song_id in merged and song_id not in seen:
        seen.add(song_id)
        song_id = merged[song_id]
    return song_id


def _pass(songs: Sequence[Song], known: Mapping[str, Song], former: Former) -> Settled:
    anime = AnimeIds(songs, known.values())
    songs, folded = _without_merged(songs, known, former, anime)
    matches, whole = _matches(songs, known, anime)
    for song in songs if whole else ():
        anime.follow(song, [known[each] for each in matches.get(song.song_id, ())])
    writer = _Writer(songs, known, anime, former)
    merged: dict[str, str] = {}
    result: dict[str, Song] = {}
    for song in songs:
        found = [known[each] for each in matches.get(song.song_id, ())]
        written = writer.kept(song, *found) if found else writer.new(song)
        result[written.song_id] = written
        merged |= {other.song_id: written.song_id for other in found[1:]}
    for song, into in folded:
        result[into] = joined(result[into], anime.settle(song))
    return Settled(with_aliases_of_their_own(list(result.values()), known, merged), merged)


def _without_merged(
    songs: Sequence[Song], known: Mapping[str, Song], former: Former, anime: AnimeIds
) -> tuple[list[Song], list[tuple[Song, str]]]:
    """The songs of an import, and beside them records that were merged into a song which another record stands for."""
    into = {song.song_id: _last(former.merged, song.song_id) for song in songs if song.song_id in former.merged}
    into = {song_id: last for song_id, last in into.items() if last in known}
    stay = [song for song in songs if song.song_id not in into]
    taken = {each for ids in _matches(stay, known, anime)[0].values() for each in ids} if into else set()
    folded = []
    for song in sorted(songs, key=lambda song: song.song_id):
        last = into.get(song.song_id)
        if last is None:
            continue
        if last in taken:
            folded.append((song, last))
        else:
            stay.append(song)
            taken.add(last)
    return stay, folded


def joined(kept: Song, other: Song) -> Song:
    """Two records that are one song: what the kept one says, completed by the other. AniDB's word is the kept one's."""
    uses = {(use.anime.anime_id, use.relation, use.episodes): use for use in (*other.appearances, *kept.appearances)}
    people = {
        role: tuple(dict.fromkeys((*getattr(kept.credits, role), *getattr(other.credits, role))))
        for role in type(kept.credits).model_fields
    }
    links = {(link.site, link.id): link for link in (*other.links, *kept.links)}
    implied = kept.model_copy(update={"anidb_id": None}).anidb
    anidb = kept.anidb or other.anidb
    return kept.model_copy(
        update={
            "aliases": _aliases(kept, kept.aliases, [other.song_id], other.aliases),
            "anidb_id": anidb if anidb != implied else None,
            "appearances": tuple(sorted(uses.values(), key=_order)),
            "credits": kept.credits.model_copy(update=people),
            "tags": tuple(dict.fromkeys((*kept.tags, *other.tags))),
            "rating": kept.rating if kept.rating is not None else other.rating,
            "source_url": kept.source_url or other.source_url,
            "links": tuple(sorted(links.values(), key=lambda k: (k.views is None, -(k.views or 0), k.id))),
        }
    )


# ---- songs ------------------------------------------------------------------------------------------------------


def _matches(songs: Sequence[Song], known: Mapping[str, Song], anime: AnimeIds) -> tuple[dict[str, list[str]], bool]:
    """Id of an import's song -> ids of the known songs that it is, the one that it keeps first.

    And whether the import stands for the whole catalogue: it has half of the known songs, or more.
    """
    kept = _named(songs, known, _claims(songs, known, anime))
    taken = {each for ids in kept.values() for each in ids}
    free = [song for song in known.values() if song.song_id not in taken]
    unknown = [anime.settle(song) for song in songs if not kept[song.song_id]]
    corrected = _alike(unknown, free, ("same", "corrected"))
    whole = 2 * (len(taken) + len(corrected)) >= len(known)
    for song_id, known_id in corrected if whole else _alike(unknown, free, ("same",)):
        kept[song_id] = [known_id]
    return kept, whole


def _named(
    songs: Sequence[Song], known: Mapping[str, Song], claims: Mapping[str, Sequence[Song]]
) -> dict[str, list[str]]:
    """Each song of the import takes the known song that it fits best; the rest is merged where it fits best.

    One each comes first: else a song could swallow the record of another that is in the same file.
    """
    matches: dict[str, list[str]] = {song.song_id: [] for song in songs}
    pairs = [(_rank(song, known[each]), each, song.song_id) for each, found in claims.items() for song in found]
    taken: set[str] = set()
    for only_free in (True, False):
        for _, known_id, song_id in sorted(pairs):
            if known_id not in taken and not (only_free and matches[song_id]):
                matches[song_id].append(known_id)
                taken.add(known_id)
    return {song.song_id: _consistent(matches[song.song_id], known) for song in songs}


def _claims(songs: Sequence[Song], known: Mapping[str, Song], anime: AnimeIds) -> dict[str, list[Song]]:
    """Known id -> the songs that name it by an id. Where their ids at AniDB differ today, nothing is named."""
    index: dict[str, set[str]] = defaultdict(set)
    for song in known.values():
        for key in _keys(song):
            index[key].add(song.song_id)
    claims: dict[str, list[Song]] = defaultdict(list)
    for song in songs:
        named = {each for key in _keys(song) | _keys(anime.settle(song)) for each in index.get(key, ())}
        earlier = {each for key in _earlier_keys(song) for each in index.get(key, ())} - named
        named |= {each for each in earlier if _same_anime_title(song, known[each])}
        for each in named:
            if not _contradict(song, known[each]):
                claims[each].append(song)
    return claims


def _keys(song: Song) -> set[str]:
    given = {song_id_of(None, use.anime.anime_id, song.title) for use in song.appearances}
    named = {f"anidb-{song.anidb}"} if song.anidb else set()
    return given | named | {song.song_id, *song.aliases}


def _earlier_keys(song: Song) -> set[str]:
    """The ids that the song's anime gave before the marks at a title's end counted."""
    return {
        song_id_of(None, earlier_anime_id(use.anime.title), song.title)
        for use in song.appearances
        if use.anime.mal_id is None
    }


def _same_anime_title(one: Song, other: Song) -> bool:
    return any(same_title(first.anime, second.anime) for first in one.appearances for second in other.appearances)


def _contradict(one: Song, other: Song) -> bool:
    return one.anidb is not None and other.anidb is not None and one.anidb != other.anidb


def _rank(song: Song, known: Song) -> tuple[bool, bool, bool, bool, str]:
    """Of several songs that name a known one: its own id first, then AniDB's, then the anime and singers it shows."""
    singers = {normalised(name) for name in song.credits.vocals} & {normalised(name) for name in known.credits.vocals}
    return (
        song.song_id != known.song_id,
        song.anidb is None or song.anidb != known.anidb,
        not same_title(song.anime, known.anime),
        not singers,
        song.song_id,
    )


def _consistent(known_ids: Sequence[str], known: Mapping[str, Song]) -> list[str]:
    """The known songs that one song is, without those that AniDB tells apart from the first."""
    return [each for each in known_ids if not _contradict(known[each], known[known_ids[0]])]


def _alike(songs: Sequence[Song], known: Sequence[Song], enough: Collection[str]) -> list[tuple[str, str]]:
    """(song id, known id) where each is the only one that fits the other."""
    index = Candidates(known)
    fits = {
        song.song_id: [other.song_id for other in index.of(song) if likeness(song, other).likeness in enough]
        for song in songs
    }
    wanted = Counter(each for found in fits.values() for each in found)
    return [(song_id, found[0]) for song_id, found in fits.items() if len(found) == 1 and wanted[found[0]] == 1]


class _Writer:
    """Writes the records of an import under the ids that were settled."""

    def __init__(self, songs: Sequence[Song], known: Mapping[str, Song], anime: AnimeIds, former: Former) -> None:
        self._anime, self._former = anime, former
        self._taken = {each for song in known.values() for each in (song.song_id, *song.aliases)}
        self._named = {anime.id_of(use.anime) for song in songs for use in song.appearances}

    def kept(self, song: Song, known: Song, *others: Song) -> Song:
        """The import's facts under the known id. It replaces the appearances in its own anime; others stay."""
        fresh = self._anime.settle(song)
        stay = [use for each in (known, *others) for use in each.appearances if use.anime.anime_id not in self._named]
        uses = {(use.anime.anime_id, use.relation, use.episodes): use for use in (*stay, *fresh.appearances)}
        merged = [each for other in others for each in (other.song_id, *other.aliases)]
        anidb = song.anidb or next((each.anidb for each in (known, *others) if each.anidb), None)
        implied = known.model_copy(update={"anidb_id": None}).anidb
        changes = {
            "song_id": known.song_id,
            "aliases": _aliases(known, known.aliases, merged, [song.song_id]),
            "anidb_id": anidb if anidb != implied else None,
            "appearances": tuple(sorted(uses.values(), key=_order)) if stay else fresh.appearances,
        }
        return fresh.model_copy(update=changes)

    def new(self, song: Song) -> Song:
        """A song that is not known: under the id that it had before it was withdrawn, else a new one."""
        fresh, song_id = self._anime.settle(song), song.song_id
        before = {self._former.withdrawn[key] for key in _keys(song) if key in self._former.withdrawn} - self._taken
        if len(before) == 1:
            song_id = before.pop()
        while song_id in self._taken:
            song_id = song_id_of(None, song_id, song.title)
        anidb = song.anidb if song_id != song.song_id else song.anidb_id
        aliases = (alias for alias, own in self._former.withdrawn.items() if own == song_id)
        changes = {"song_id": song_id, "anidb_id": anidb, "aliases": ()}
        renamed = fresh.model_copy(update=changes)
        came_back = song_id != song.song_id and song_id in self._former.withdrawn.values()
        given = [song.song_id] if came_back else []
        return renamed.model_copy(update={"aliases": _aliases(renamed, fresh.aliases, aliases, given)})


def with_aliases_of_their_own(
    songs: Sequence[Song], known: Mapping[str, Song], merged: Mapping[str, str]
) -> list[Song]:
    """An id means one song: the one whose own it is, else the first that has it as an alias."""
    written = {song.song_id for song in songs}
    others = [song for each, song in known.items() if each not in merged and each not in written]
    taken = written | {song.song_id for song in others} | {alias for song in others for alias in song.aliases}
    result = []
    for song in sorted(songs, key=lambda song: song.song_id):
        aliases = tuple(each for each in song.aliases if each not in taken)
        taken |= set(aliases)
        result.append(song if aliases == song.aliases else song.model_copy(update={"aliases": aliases}))
    return result


def _aliases(own: Song, *ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({each for some in ids for each in some} - {own.song_id}))


def _order(use: Appearance) -> tuple[int, str, str, str]:
    return use.anime.mal_id or _NO_MAL_ID, use.anime.anime_id, use.relation, use.episodes or ""
