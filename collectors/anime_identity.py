"""Which known anime each anime of an import is. Listeners veto anime, so an anime has one id for life, as a song has.

It is recognised by its id, MyAnimeList's id or its title; else because a song that was recognised moved from the one to
the other, and their titles differ little.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from collectors.likeness import anime_ids, anime_titles, same_title, spelled_alike
from contracts.catalogue import Anime, Song, earlier_anime_id, song_id_of


def _alike_titles(one: Anime, other: Anime) -> bool:
    return same_title(one, other) or spelled_alike(one, other)


def _completed(anime: Anime, known: Anime) -> Anime:
    """The anime of an import that knows less of it: without MAL's id it has nothing else from there, so that stays."""
    if anime.mal_id is not None or known.mal_id is None:
        return anime
    silent = {name for name in type(anime).model_fields if not getattr(anime, name)}
    return anime.model_copy(update={name: getattr(known, name) for name in silent})


class AnimeIds:
    """Which known anime each anime of an import is."""

    def __init__(self, songs: Iterable[Song], known: Iterable[Song]) -> None:
        self._known: dict[str, Anime] = {}
        for song in known:
            for use in song.appearances:
                self._add(use.anime)
        self._imported = {use.anime.anime_id: use.anime for song in songs for use in song.appearances}
        self._id_of: dict[str, str] = {}
        self._find_known()
        self._own = self._own_ids()

    def _add(self, anime: Anime) -> None:
        old = self._known.get(anime.anime_id, anime)
        aliases = tuple(sorted({*old.aliases, *anime.aliases} - {anime.anime_id}))
        self._known[anime.anime_id] = anime.model_copy(update={"aliases": aliases})

    def _find_known(self) -> None:
        by_key: dict[str, set[str]] = defaultdict(set)
        by_title: dict[str, set[str]] = defaultdict(set)
        for anime in self._known.values():
            for key in anime_ids(anime):
                by_key[key].add(anime.anime_id)
            for title in anime_titles(anime):
                by_title[title].add(anime.anime_id)
        titled: dict[str, list[str]] = defaultdict(list)
        for anime_id, anime in sorted(self._imported.items()):
            named = self._named(anime, by_key)
            if len(named) == 1:
                self._id_of[anime_id] = named.pop()
            elif not named:
                alike = {each for title in anime_titles(anime) for each in by_title.get(title, ())}
                for each in alike if len(alike) == 1 else ():
                    titled[each].append(anime_id)
        for known_id, found in titled.items():
            # Where both have MyAnimeList's ids, or two of the import have the title, they may well be two anime.
            numbers = (self._imported[found[0]].mal_id, self._known[known_id].mal_id)
            if len(found) == 1 and None in numbers and known_id not in self._id_of.values():
                self._id_of[found[0]] = known_id

    def _named(self, anime: Anime, by_key: Mapping[str, set[str]]) -> set[str]:
        """The known anime that an id names: its own before any other, the one of earlier versions last."""
        named = {each for key in anime_ids(anime) for each in by_key.get(key, ())}
        if anime.anime_id in named:
            named = {anime.anime_id}
        named = {each for each in named if not self._contradict(anime, each)}
        if not named and anime.mal_id is None:
            earlier = by_key.get(earlier_anime_id(anime.title), set())
            named = {each for each in earlier if same_title(anime, self._known[each])}
        return named

    def _contradict(self, anime: Anime, known_id: str) -> bool:
        known = self._known[known_id].mal_id
        return anime.mal_id is not None and known is not None and anime.mal_id != known

    def follow(self, song: Song, known: Sequence[Song]) -> None:
        """A recognised song identifies its anime: an anime that it had before and the import lacks is the new one.

        Only by an import that stands for the whole catalogue: a part may well lack the first season.
        """
        unknown = [use for use in song.appearances if use.anime.anime_id not in self._id_of]
        if not unknown:
            return
        spoken_of = self._imported.keys() | set(self._id_of.values())
        gone = [use for each in known for use in each.appearances if use.anime.anime_id not in spoken_of]
        for use in unknown:
            same_use = {old.anime.anime_id: old.anime for old in gone if old.relation == use.relation}
            alike = [each for each, anime in same_use.items() if _alike_titles(anime, use.anime)]
            if len(alike) == 1:
                self._id_of[use.anime.anime_id] = alike[0]
                self._own = self._own_ids()
                gone = [old for old in gone if old.anime.anime_id != alike[0]]

    def _own_ids(self) -> set[str]:
        """Ids that are an anime's own, and so no other's alias."""
        return self._known.keys() | {self._id_of.get(each, each) for each in self._imported}

    def id_of(self, anime: Anime) -> str:
        """The id that an anime of the import keeps; a new one where its own is another anime's."""
        found = self._id_of.get(anime.anime_id)
        if found is not None:
            return found
        if anime.anime_id not in self._known:
            return anime.anime_id
        return song_id_of(None, anime.anime_id, anime.title).replace("song-", "anime-", 1)

    def settle(self, song: Song) -> Song:
        """The song with the ids that its anime keep."""
        uses = tuple(use.model_copy(update={"anime": self._settled(use.anime)}) for use in song.appearances)
        return song if uses == song.appearances else song.model_copy(update={"appearances": uses})

    def _settled(self, anime: Anime) -> Anime:
        kept = self.id_of(anime)
        known = self._known.get(kept)
        aliases = {*(known.aliases if known else ()), anime.anime_id} - self._own
        settled = anime.model_copy(update={"anime_id": kept, "aliases": tuple(sorted(aliases))})
        return settled if known is None else _completed(settled, known)
