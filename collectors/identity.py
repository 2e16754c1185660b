"""Which known song each song of an import is: a song has one id for life, whatever its record says later.

In three rounds, each over what is left of the one before:
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
from collectors.likeness import anime_ids, likeness, same_title
from contracts.catalogue import Appearance, Song, earlier_anime_id, normalised, song_id_of

_NO_MAL_ID: Final = 1 << 60
_MOST_PASSES: Final = 8


@dataclass(frozen=True)
class Settled:
    """The songs of an import under the ids that they keep. `merged`: id of a known song -> the song that it became."""

    songs: list[Song]
    merged: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Doubt:
    """Two songs that may be one, and why."""

    one: Song
    other: Song
    reason: str


def settled(songs: Sequence[Song], known: Mapping[str, Song]) -> Settled:
    """Give each song the id of the known song that it is. Ids within `songs` must be unique.

    What one pass finds out about anime may let the next recognise a song, so passes follow until nothing changes: the
    same import again then changes nothing.
    """
    now, merged = dict(known), dict[str, str]()
    found = list(songs)
    for _ in range(_MOST_PASSES if known else 0):
        once = _pass(songs, now)
        found, merged = once.songs, merged | once.merged
        after = {each: song for each, song in now.items() if each not in once.merged} | {s.song_id: s for s in found}
        if after == now:
            break
        now = after
    return Settled(found, {each: _last(merged, each) for each in merged if each in known})


def _last(merged: Mapping[str, str], song_id: str) -> str:
    while song_id in merged:
        song_id = merged[song_id]
    return song_id


def _pass(songs: Sequence[Song], known: Mapping[str, Song]) -> Settled:
    anime = AnimeIds(songs, known.values())
    matches = _matches(songs, known, anime)
    for song in songs:
        anime.follow(song, [known[each] for each in matches.get(song.song_id, ())])
    writer = _Writer(songs, known, anime)
    merged: dict[str, str] = {}
    result = []
    for song in songs:
        found = [known[each] for each in matches.get(song.song_id, ())]
        result.append(writer.kept(song, *found) if found else writer.new(song))
        merged |= {other.song_id: result[-1].song_id for other in found[1:]}
    return Settled(without_taken_aliases(result, known, merged), merged)


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


def doubtful(songs: Collection[Song], about: Collection[str] | None = None) -> list[Doubt]:
    """Songs of one catalogue that may be one, each pair once, ordered by their ids.

    `about`: only pairs with one of these ids; all where it is None.
    """
    index = _Candidates(songs)
    asked = [song for song in songs if about is None or song.song_id in about]
    found: dict[tuple[str, str], Doubt] = {}
    for song in asked:
        for other in index.of(song):
            one, two = sorted((song, other), key=lambda each: each.song_id)
            if (one.song_id, two.song_id) not in found and (verdict := likeness(one, two)).likeness != "apart":
                found[one.song_id, two.song_id] = Doubt(one, two, verdict.reason)
    return [found[pair] for pair in sorted(found)]


# ---- songs ------------------------------------------------------------------------------------------------------


def _matches(songs: Sequence[Song], known: Mapping[str, Song], anime: AnimeIds) -> dict[str, list[str]]:
    """Id of an import's song -> ids of the known songs that it is, the one that it keeps first."""
    kept = _named(songs, known, _claims(songs, known, anime))
    taken = {each for ids in kept.values() for each in ids}
    free = [song for song in known.values() if song.song_id not in taken]
    unknown = [anime.settle(song) for song in songs if not kept[song.song_id]]
    for song_id, known_id in _alike(unknown, free):
        kept[song_id] = [known_id]
    return kept


def _named(
    songs: Sequence[Song], known: Mapping[str, Song], claims: Mapping[str, Sequence[Song]]
) -> dict[str, list[str]]:
    """Each song of the import takes the known song that it fits best; what nobody took is merged where it fits best.

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


def _alike(songs: Sequence[Song], known: Sequence[Song]) -> list[tuple[str, str]]:
    """(song id, known id) where each is the only one that fits the other."""
    index = _Candidates(known)
    fits = {
        song.song_id: [
            other.song_id for other in index.of(song) if likeness(song, other).likeness in ("same", "corrected")
        ]
        for song in songs
    }
    wanted = Counter(each for found in fits.values() for each in found)
    return [(song_id, found[0]) for song_id, found in fits.items() if len(found) == 1 and wanted[found[0]] == 1]


class _Candidates:
    """Songs that are worth comparing with another: of its anime, with its video, or with its title."""

    def __init__(self, songs: Iterable[Song]) -> None:
        self._by_key: dict[object, list[Song]] = defaultdict(list)
        for song in songs:
            for key in _likeness_keys(song):
                self._by_key[key].append(song)

    def of(self, song: Song) -> list[Song]:
        """Ordered by id; the song itself is not among them."""
        found = {other.song_id: other for key in _likeness_keys(song) for other in self._by_key.get(key, ())}
        return [found[each] for each in sorted(found) if each != song.song_id]


def _likeness_keys(song: Song) -> set[tuple[str, str]]:
    keys = {("anime", each) for use in song.appearances for each in anime_ids(use.anime)}
    keys |= {(link.site, link.id) for link in song.links}
    return keys | {("title", normalised(song.title))} | ({("anidb", str(song.anidb))} if song.anidb else set())


class _Writer:
    """Writes the records of an import under the ids that were settled."""

    def __init__(self, songs: Sequence[Song], known: Mapping[str, Song], anime: AnimeIds) -> None:
        self._anime = anime
        self._taken = {each for song in known.values() for each in (song.song_id, *song.aliases)}
        self._told = {anime.id_of(use.anime) for song in songs for use in song.appearances}

    def kept(self, song: Song, known: Song, *others: Song) -> Song:
        """The import's facts under the known id. It speaks of the anime that it has; other appearances stay."""
        fresh = self._anime.settle(song)
        stay = [use for each in (known, *others) for use in each.appearances if use.anime.anime_id not in self._told]
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
        """A song that is not known. Its id is one that no other song ever had."""
        fresh, song_id = self._anime.settle(song), song.song_id
        while song_id in self._taken:
            song_id = song_id_of(None, song_id, song.title)
        anidb = song.anidb if song_id != song.song_id else song.anidb_id
        return fresh.model_copy(update={"song_id": song_id, "anidb_id": anidb})


def without_taken_aliases(songs: Sequence[Song], known: Mapping[str, Song], merged: Mapping[str, str]) -> list[Song]:
    """An id that is a song's own means that song: nobody else has it as an alias."""
    own = {song.song_id for song in songs} | (known.keys() - merged.keys())
    return [
        song
        if own.isdisjoint(song.aliases)
        else song.model_copy(update={"aliases": tuple(each for each in song.aliases if each not in own)})
        for song in songs
    ]


def _aliases(own: Song, *ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({each for some in ids for each in some} - {own.song_id}))


def _order(use: Appearance) -> tuple[int, str, str, str]:
    return use.anime.mal_id or _NO_MAL_ID, use.anime.anime_id, use.relation, use.episodes or ""
