"""The examples of `collectors.likeness`, and that a verdict does not depend on the order of the two."""

import pytest

from collectors.likeness import differs_little, likeness
from contracts.catalogue import Anime, Appearance, Credits, Link, Song, anime_id_of, song_id_of


def a_song(
    title: str,
    anime: str = "Show",
    *,
    mal_id: int | None = 1,
    anidb: int | None = None,
    relation: str = "opening",
    singers: tuple[str, ...] = (),
    video: str | None = None,
) -> Song:
    anime_id = anime_id_of(mal_id, anime)
    return Song(
        song_id=song_id_of(anidb, anime_id, title),
        title=title,
        appearances=(Appearance(anime=Anime(anime_id=anime_id, title=anime, mal_id=mal_id), relation=relation),),
        credits=Credits(vocals=singers),
        links=(Link(site="youtube", id=video),) if video else (),
    )


PAIRS = [
    (a_song("Tsubasa", anidb=5), a_song("Wings", "Other", mal_id=2, anidb=5), "same"),
    (a_song("Tsubasa", anidb=5, singers=("Ann",)), a_song("Tsubasa", anidb=6, singers=("Ann",)), "corrected"),
    (a_song("Tsubasa", anidb=5, video="v"), a_song("Tsubasa", anidb=6, video="v"), "corrected"),
    (a_song("Tsubasa", anidb=5), a_song("Tsubasa", anidb=6), "apart"),
    (a_song("Hitomi no Tsubasa"), a_song("Hitomi no Tubasa"), "same"),
    (a_song("Hitomi no Tsubasa"), a_song("Hitomi no Tubasa", relation="ending"), "doubtful"),
    (a_song("Theme of Love Part 1"), a_song("Theme of Love Part 2"), "apart"),
    (a_song("Hana no Uta (Ver. X)"), a_song("Hana no Uta (Ver. Z)"), "apart"),
    (a_song("Main Theme", singers=("Ann",)), a_song("Main Themes", singers=("Bob",)), "doubtful"),
    (a_song("Rain"), a_song("Ruin"), "apart"),
    (a_song("Sakura", mal_id=1), a_song("Sakura", mal_id=2), "corrected"),
    (a_song("Sakura", mal_id=1, singers=("Ann",)), a_song("Sakura", mal_id=2, singers=("Bob",)), "apart"),
    (a_song("Sakura", "K-On!", mal_id=None), a_song("Sakura", "K-On!!", mal_id=None), "apart"),
    (a_song("Sakura", "Attack on Titan", mal_id=None), a_song("Sakura", "Atack on Titan", mal_id=None), "doubtful"),
    (
        a_song("Sakura", "Attack on Titan", mal_id=None, video="v"),
        a_song("Sakura", "Atack on Titan", mal_id=None, video="v"),
        "corrected",
    ),
    (a_song("Guren", video="v"), a_song("Crimson Bow", video="v"), "corrected"),
    (a_song("Guren", video="v", singers=("Ann",)), a_song("Crimson", video="v", singers=("Bob",)), "doubtful"),
    (a_song("Resonance Part I"), a_song("Resonance Part II"), "apart"),
    (a_song("Endless Story (male)"), a_song("Endless Story (female)"), "apart"),
    (a_song("Kimi no Uta da"), a_song("Kimi no Uma da"), "apart"),
    (a_song("Sakura", "Show R", mal_id=2), a_song("Sakura", "Show", mal_id=1), "apart"),
    (a_song("Guren", video="v"), a_song("Crimson Bow", video="v", relation="ending"), "doubtful"),
    (a_song("Twin A", "Show A", video="v"), a_song("Twin B", "Show B", mal_id=2, video="v"), "apart"),
    (
        a_song("Hikari", "A Show", singers=("Ann",)),
        a_song("Hikari", "B Show", mal_id=2, singers=("Ann",), relation="ending"),
        "same",
    ),
    (a_song("Hikari", "A Show"), a_song("Hikari", "B Show", mal_id=2), "apart"),
    (a_song("Hikari", "A Show", video="v"), a_song("Hikari", "B Show", mal_id=2, video="v"), "doubtful"),
]


@pytest.mark.parametrize(("one", "other", "expected"), PAIRS)
def test_two_records_are_one_song_or_not(one: Song, other: Song, expected: str) -> None:
    assert likeness(one, other).likeness == expected
    assert likeness(other, one).likeness == expected


@pytest.mark.parametrize(
    ("one", "other", "little"),
    [
        ("Utatane Shunshine", "Utatane Sunshine", True),
        ("Don't say lazy", "Don’t Say 'lazy'", True),
        ("Six Faces of Summer", "Six Faces of Sumer", True),
        ("SIX SAME FACES", "SIX SHAME FACES", False),
        ("Opening 1", "Opening 2", False),
        ("Rain", "Ruin", False),
        ("TRUE LOVE Kensuke Ooshiba ver.", "TRUE LOVE Kousuke Ooshiba ver.", False),
    ],
)
def test_titles_differ_little_or_not(one: str, other: str, little: bool) -> None:
    assert differs_little(one, other) == little
    assert differs_little(other, one) == little
