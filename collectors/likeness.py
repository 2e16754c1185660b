"""The rules for whether two catalogue records are one song.

| one | other | verdict |
| --- | --- | --- |
| AniDB 5 | AniDB 5 | same |
| AniDB 5 | AniDB 6, all else alike and the same video or singers | corrected |
| Hitomi no Tsubasa, opening of Gundam | Hitomi no Tubasa, opening of Gundam | same: the title differs little |
| Part I, opening of Gundam | Part II, opening of Gundam | apart: the numbers differ |
| Hana (Ver. X), ending of Show | Hana (Ver. Z), ending of Show | apart: two versions |
| Main Theme by Ann, opening of K-On! | Main Themes by Bob, opening of K-On! | doubtful: other singers |
| Sakura, opening of Show (MAL 1) | Sakura, opening of Show (MAL 2) | corrected: the anime has the same title |
| Guren, opening of Titan, video x | Crimson Bow, opening of Titan, video x | corrected: the video |
| Twin A, opening of Show A, video x | Twin B, opening of Show B, video x | apart: two songs may share a video |
| Hikari by Ann, opening of A | Hikari by Ann, ending of B | same: title and singers, as in `collectors.merging` |
| Hikari, opening of A | Hikari, opening of B | apart: a title alone joins nothing |

`same` holds whatever else is in the catalogue. `corrected` holds only where a file stands for the whole catalogue, and
has the one and no longer the other: a file that has both tells them apart, and a part of a catalogue may lack one.
`doubtful` never joins anything; a person decides.
"""

import re
import unicodedata
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Final, Literal, NamedTuple

from contracts.catalogue import Anime, Song, anime_key, marks_of, normalised

Likeness = Literal["same", "corrected", "doubtful", "apart"]

# One word may be spelled otherwise, if it is not a short one: Rain is not Ruin.
_WORD: Final = 0.75
_SHORT: Final = 5
_SOMEWHAT: Final = 0.8
_WORDS: Final = re.compile(r"\w+")
_BRACKETS: Final = re.compile(r"[(\[<（［【〈《].*?[)\]>）］】〉》]")
# Two versions of a song are two songs, however few letters tell them apart: Type A is not Type B.
_VERSION: Final = re.compile(r"\b(ver|vers|version|type|mix|remix|edit|arrange)\b", re.IGNORECASE)


class Verdict(NamedTuple):
    """What two records are to each other, and the reason in words."""

    likeness: Likeness
    reason: str


def likeness(one: Song, other: Song) -> Verdict:
    """Compare two records. The order of the two does not matter."""
    if one.anidb is not None and one.anidb == other.anidb:
        return Verdict("same", "they have the same AniDB id")
    if one.anidb is not None and other.anidb is not None:
        return _told_apart_by_anidb(one, other)
    if shared_anime(one, other):
        return _in_one_anime(one, other)
    return _in_two_anime(one, other)


def shared_anime(one: Song, other: Song) -> bool:
    """Whether an anime of the one is an anime of the other, by id, alias or MyAnimeList's id."""
    return not _anime_ids(one).isdisjoint(_anime_ids(other))


def same_title(one: Anime, other: Anime) -> bool:
    """Whether two anime share one of their titles; the marks at a title's end count."""
    return not anime_titles(one).isdisjoint(anime_titles(other))


def anime_titles(anime: Anime) -> frozenset[str]:
    """The titles of an anime, for comparing."""
    titles = (anime.title, anime.title_romaji, anime.title_en, anime.title_jp)
    return frozenset(anime_key(title) for title in titles if title)


def differs_little(one: str, other: str) -> bool:
    """Whether two titles may be spellings of one: the same words in the same order, and one of them spelled otherwise.

    What stands in brackets, numbers (Roman ones are short words) and versions must agree: they tell songs apart.
    """
    if normalised(one) == normalised(other):
        return True
    first, second = _words(one), _words(other)
    if len(first) != len(second) or _VERSION.search(one) or _VERSION.search(other):
        return False
    if _BRACKETS.findall(one.casefold()) != _BRACKETS.findall(other.casefold()):
        return False
    differing = [pair for pair in zip(first, second, strict=True) if pair[0] != pair[1]]
    return len(differing) == 1 and _one_word_differs_little(*differing[0])


def _words(title: str) -> list[str]:
    return _WORDS.findall(unicodedata.normalize("NFKC", title).casefold())


def _one_word_differs_little(one: str, other: str) -> bool:
    if min(len(one), len(other)) < _SHORT or any(char.isdigit() for char in one + other):
        return False
    return _ratio(one, other) >= _WORD


def _ratio(one: str, other: str) -> float:
    """Of the letters of both, how many agree. SequenceMatcher depends on the order of the two; a verdict must not."""
    first, second = sorted((one, other))
    return SequenceMatcher(None, first, second, autojunk=False).ratio()


def spelled_alike(one: Anime, other: Anime) -> bool:
    """Whether two anime may be one whose title was corrected. Known MAL ids, and the marks at the end, must agree."""
    if None not in (one.mal_id, other.mal_id) and one.mal_id != other.mal_id:
        return False
    return marks_of(one.title) == marks_of(other.title) and differs_little(one.title, other.title)


def _told_apart_by_anidb(one: Song, other: Song) -> Verdict:
    """Two songs, unless one id was a mistake: then all else agrees."""
    alike = shared_anime(one, other) and _relations(one) & _relations(other) and _equal_title(one, other)
    if alike and (_shared_video(one, other) or _singers(one) == _singers(other) != frozenset()):
        return Verdict("corrected", "all but the AniDB id is the same")
    return Verdict("apart", "AniDB tells them apart")


def _in_one_anime(one: Song, other: Song) -> Verdict:
    if _equal_title(one, other):
        return Verdict("same", "they have the same title in the same anime")
    same_use = bool(_relations(one) & _relations(other))
    if differs_little(one.title, other.title):
        if not same_use:
            return Verdict("doubtful", "their titles differ little in the same anime, but not their use")
        if _other_singers(one, other):
            return Verdict("doubtful", "their titles differ little in the same anime, but others sing")
        return Verdict("same", "their titles differ little, with the same use in the same anime")
    if _shared_video(one, other):
        if same_use and not _other_singers(one, other):
            return Verdict("corrected", "they have the same video and the same use in the same anime")
        return Verdict("doubtful", "they have the same video in the same anime, and other titles")
    titles = normalised(one.title), normalised(other.title)
    if same_use and _singers(one) & _singers(other) and _ratio(*titles) >= _SOMEWHAT and not _numbered(*titles):
        return Verdict("doubtful", "their titles are alike, with the same singers and use in the same anime")
    return Verdict("apart", "their titles differ")


def _in_two_anime(one: Song, other: Song) -> Verdict:
    equal, video = _equal_title(one, other), _shared_video(one, other)
    if equal and _singers(one) == _singers(other) != frozenset():
        return Verdict("same", "they have the same title and the same singers")
    if not equal and not (video and differs_little(one.title, other.title)):
        return Verdict("apart", "their anime and their titles differ")
    for first, second in _pairs_of_one_use(one, other):
        if same_title(first, second) and not _other_singers(one, other):
            return Verdict("corrected", "they have the same title and use in anime of the same title")
        if spelled_alike(first, second):
            if video:
                return Verdict(
                    "corrected", "they have the same title, use and video in anime whose titles differ little"
                )
            return Verdict("doubtful", "they have the same title and use in anime whose titles differ little")
    if video:
        return Verdict("doubtful", "they have the same title and video in two anime")
    return Verdict("apart", "a title alone joins nothing")


def _numbered(one: str, other: str) -> bool:
    """Whether numbers tell two titles apart."""
    return re.findall(r"\d+", one) != re.findall(r"\d+", other)


def _pairs_of_one_use(one: Song, other: Song) -> Iterable[tuple[Anime, Anime]]:
    for first in one.appearances:
        for second in other.appearances:
            if first.relation == second.relation:
                yield first.anime, second.anime


def anime_ids(anime: Anime) -> frozenset[str]:
    """The ids that mean an anime. Where MyAnimeList's id is known, another id of that kind was a mistake."""
    given = {anime.anime_id, *anime.aliases}
    if anime.mal_id is None:
        return frozenset(given)
    return frozenset({each for each in given if not each.startswith("mal-")} | {f"mal-{anime.mal_id}"})


def _anime_ids(song: Song) -> frozenset[str]:
    return frozenset(each for use in song.appearances for each in anime_ids(use.anime))


def _relations(song: Song) -> frozenset[str]:
    return frozenset(use.relation for use in song.appearances)


def _equal_title(one: Song, other: Song) -> bool:
    return normalised(one.title) == normalised(other.title)


def _singers(song: Song) -> frozenset[str]:
    return frozenset(normalised(name) for name in song.credits.vocals)


def _other_singers(one: Song, other: Song) -> bool:
    """Whether both name singers, and none of them is the same."""
    return bool(_singers(one) and _singers(other)) and not _singers(one) & _singers(other)


def _shared_video(one: Song, other: Song) -> bool:
    return not {(link.site, link.id) for link in one.links}.isdisjoint((link.site, link.id) for link in other.links)
