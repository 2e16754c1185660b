"""A song keeps its id through every correction; what is told apart stays apart; importing again writes nothing."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.doubts import doubtful
from collectors.identity import joined, settled
from collectors.importing import planned, withdrawal
from contracts.catalogue import Anime, Appearance, Credits, Song, WithdrawnSong, anime_id_of
from services.common.kafka.catalogue_log import CatalogueLog
from tests.unit.collectors.test_likeness import a_song


def catalogue_of(songs: Iterable[Song]) -> dict[str, Song]:
    return {song.song_id: song for song in songs}


def after(known: dict[str, Song], songs: list[Song]) -> dict[str, Song]:
    """The catalogue once `songs` are imported into it."""
    log = CatalogueLog(songs=dict(known), values={each: song.log_value() for each, song in known.items()})
    log.apply([(song_id.encode(), value) for song_id, value in planned(songs, log).records])
    return log.songs


def only(songs: dict[str, Song]) -> Song:
    (song,) = songs.values()
    return song


def keeps_its_id(before: Song, corrected: Song) -> Song:
    found = only(after(catalogue_of([before]), [corrected]))
    assert found.song_id == before.song_id
    assert corrected.song_id == before.song_id or corrected.song_id in found.aliases
    assert found.title == corrected.title
    # The same import again says nothing new.
    assert after(catalogue_of([found]), [corrected]) == catalogue_of([found])
    return found


def test_a_song_gets_its_anidb_id() -> None:
    found = keeps_its_id(a_song("Tsubasa"), a_song("Tsubasa", anidb=77))
    assert found.anidb == 77 and found.aliases == ("anidb-77",)


def test_a_title_is_corrected() -> None:
    assert keeps_its_id(a_song("Hitomi no Tubasa"), a_song("Hitomi no Tsubasa")).title == "Hitomi no Tsubasa"


def test_a_title_is_translated_and_the_video_stays() -> None:
    assert keeps_its_id(a_song("Guren", video="v"), a_song("Crimson Bow", video="v")).title == "Crimson Bow"


def test_an_anidb_id_is_corrected() -> None:
    found = keeps_its_id(a_song("Tsubasa", anidb=5, video="v"), a_song("Tsubasa", anidb=6, video="v"))
    assert found.song_id == "anidb-5" and found.anidb == 6


def test_the_song_that_the_freed_anidb_id_belongs_to_is_another() -> None:
    known = after(catalogue_of([a_song("Tsubasa", anidb=5, video="v")]), [a_song("Tsubasa", anidb=6, video="v")])
    other = a_song("Quite another", "Another Show", mal_id=9, anidb=5)
    found = after(known, [other])
    assert len(found) == 2
    assert found["anidb-5"].title == "Tsubasa"
    new = next(song for song in found.values() if song.title == "Quite another")
    assert new.anidb == 5
    assert after(found, [other]) == found


def test_an_anime_gets_its_mal_id() -> None:
    found = keeps_its_id(a_song("Tsubasa", mal_id=None), a_song("Tsubasa", mal_id=4))
    assert found.anime.anime_id == a_song("Tsubasa", mal_id=None).anime.anime_id
    assert found.anime.mal_id == 4 and found.anime.aliases == ("mal-4",)


def test_a_mal_id_is_corrected() -> None:
    found = keeps_its_id(a_song("Tsubasa", mal_id=4), a_song("Tsubasa", mal_id=5))
    assert found.anime.anime_id == "mal-4" and found.anime.mal_id == 5 and found.anime.aliases == ("mal-5",)


def test_the_anime_that_the_freed_mal_id_belongs_to_is_another() -> None:
    known = after(catalogue_of([a_song("Tsubasa", mal_id=4)]), [a_song("Tsubasa", mal_id=5)])
    found = after(known, [a_song("Kaze no Uta", "The Real Four", mal_id=4)])
    ids = {song.title: song.anime.anime_id for song in found.values()}
    assert ids["Tsubasa"] == "mal-4" and ids["Kaze no Uta"] not in ("mal-4", "mal-5")
    assert after(found, [a_song("Kaze no Uta", "The Real Four", mal_id=4)]) == found


def test_other_songs_of_a_corrected_anime_follow() -> None:
    known = catalogue_of([a_song("Tsubasa", mal_id=4), a_song("Long ago", mal_id=4, relation="ending")])
    found = after(known, [a_song("Tsubasa", mal_id=5), a_song("Brand new", mal_id=5, relation="insert song")])
    assert {song.anime.anime_id for song in found.values()} == {"mal-4"} and len(found) == 3


def test_an_anime_title_is_corrected() -> None:
    before = a_song("Tsubasa", "Atack on Titan", mal_id=None, video="v")
    found = keeps_its_id(before, a_song("Tsubasa", "Attack on Titan", mal_id=None, video="v"))
    assert found.anime.anime_id == before.anime.anime_id and found.anime.title == "Attack on Titan"


def test_two_records_turn_out_to_be_one() -> None:
    by_title, by_anidb = a_song("Tsubasa"), a_song("Hitomi no Tsubasa", anidb=77)
    log = CatalogueLog(songs=catalogue_of([by_title, by_anidb]))
    log.values = {each: song.log_value() for each, song in log.songs.items()}
    plan = planned([a_song("Tsubasa", anidb=77)], log)
    assert plan.merged == (by_title.song_id,) and plan.withdrawn == 0
    last = WithdrawnSong.model_validate_json(dict(plan.records)[by_title.song_id])
    assert last.merged_into == "anidb-77"
    log.apply([(song_id.encode(), value) for song_id, value in plan.records])
    assert only(log.songs).aliases == (by_title.song_id,)
    assert planned([a_song("Tsubasa", anidb=77)], log).records == []


def test_a_chain_of_merges_keeps_every_id() -> None:
    first, second, third = a_song("Tsubasa"), a_song("Hane no Uta", anidb=3), a_song("Mirai e", anidb=4)
    merged = joined(second, first)
    assert set(joined(third, merged).aliases) == {first.song_id, second.song_id}
    assert joined(third, merged).anidb == 4


def test_a_file_that_has_both_tells_them_apart() -> None:
    both = [a_song("Sakura", "Kanon", mal_id=1), a_song("Sakura", "Kanon", mal_id=2)]
    assert after({}, both) == catalogue_of(both)
    assert after(catalogue_of(both[:1]), both) == catalogue_of(both)


def a_show(title: str, mal_id: int | None, songs: str = "abcdef", first: int = 100) -> list[Song]:
    """Songs that are nobody else's, of one anime."""
    return [a_song(f"Song {each} {first}", title, mal_id=mal_id, anidb=first + at) for at, each in enumerate(songs)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("Sailor Moon", 530), ("Sailor Moon R", 740)),
        (("K-On!", 5680), ("K-On!!", 7791)),
        (("K-On!", None), ("K-On!!", None)),
    ],
)
def test_a_sequel_that_is_imported_alone_is_an_anime_of_its_own(first: Any, second: Any) -> None:
    shared = [a_song("Moonlight", show, mal_id=mal_id, singers=("Dali",)) for show, mal_id in (first, second)]
    found = after(catalogue_of([*a_show(*first), shared[0]]), [*a_show(*second, first=200), shared[1]])
    assert len(found) == 13
    anime = {use.anime.title: use.anime.anime_id for song in found.values() for use in song.appearances}
    assert anime == {show: anime_id_of(mal_id, show) for show, mal_id in (first, second)}
    both = next(song for song in found.values() if song.title == "Moonlight")
    assert [use.anime.title for use in both.appearances] == [first[0], second[0]] or first[1] is None


def test_a_remake_in_a_file_of_its_own_is_another_anime() -> None:
    known = [*a_show("Hunter x Hunter", 136), a_song("Departure", "Hunter x Hunter", mal_id=136)]
    found = after(catalogue_of(known), [a_song("Departure", "Hunter x Hunter", mal_id=11061)])
    assert len(found) == len(known) + 1 and known[-1].song_id in found
    assert len(doubtful(found.values())) == 1


def test_a_part_of_a_catalogue_corrects_nothing_that_it_only_may_correct() -> None:
    known = [*a_show("Titan", 1), a_song("First Song", "Titan", video="v")]
    found = after(catalogue_of(known), [a_song("Second Song", "Titan", video="v")])
    assert len(found) == len(known) + 1 and found[known[-1].song_id] == known[-1]


def test_a_merge_outlives_the_next_import() -> None:
    rows = [a_song("Alpha", singers=("Ann",)), a_song("Beta", singers=("Bob",), relation="ending")]
    log = CatalogueLog()
    log.apply([(song_id.encode(), value) for song_id, value in planned(rows, log).records])
    log.apply(
        [
            (rows[0].song_id.encode(), joined(rows[0], rows[1]).log_value()),
            (rows[1].song_id.encode(), withdrawal(rows[1].song_id, rows[0].song_id, rows[1])),
        ]
    )
    for _ in range(2):
        log.apply([(song_id.encode(), value) for song_id, value in planned(rows, log).records])
        assert only(log.songs).song_id == rows[0].song_id and only(log.songs).aliases == (rows[1].song_id,)
    assert planned(rows, log).records == []


def test_a_withdrawn_song_comes_back_under_its_id() -> None:
    log = CatalogueLog()
    corrected = [*a_show("Titan", 1), a_song("Hikari", "Titan", anidb=9)]
    for songs in ([*a_show("Titan", 1), a_song("Hikari", "Titan")], corrected, a_show("Titan", 1), corrected):
        plan = planned(songs, log, withdraw_missing=True)
        log.apply([(song_id.encode(), value) for song_id, value in plan.records])
    back = log.songs[a_song("Hikari", "Titan").song_id]
    assert back.anidb == 9 and back.aliases == ("anidb-9",)


def test_a_file_that_knows_only_a_title_leaves_the_mal_id() -> None:
    known = [*a_show("K-On!", 5680), a_song("Don't say lazy", "K-On!", mal_id=5680)]
    found = after(catalogue_of(known), [a_song("Don't say lazy", "K-On!", mal_id=None)])
    assert {song.anime.mal_id for song in found.values()} == {5680} and len(found) == len(known)


def test_doubtful_songs_stay_apart_and_are_listed() -> None:
    one, other = a_song("Main Theme", singers=("Ann",)), a_song("Main Themes", singers=("Bob",))
    found = after(catalogue_of([one]), [other])
    assert len(found) == 2
    (doubt,) = doubtful(found.values())
    assert {doubt.one.song_id, doubt.other.song_id} == {one.song_id, other.song_id} and "others sing" in doubt.reason


def test_a_partial_file_takes_no_other_anime_away() -> None:
    uses = [a_song("Hikari", "A Show", mal_id=1), a_song("Hikari", "B Show", mal_id=2)]
    wide = uses[0].model_copy(update={"appearances": (*uses[0].appearances, *uses[1].appearances)})
    found = only(after(catalogue_of([wide]), [uses[1]]))
    assert found.song_id == wide.song_id
    assert [use.anime.anime_id for use in found.appearances] == ["mal-1", "mal-2"]


def test_marks_at_the_end_of_an_anime_title_count() -> None:
    shows = ["K-On", "K-On!", "K-On!!", "Gintama", "Gintama'", "Gintama°", "Gintama."]
    songs = [a_song("Main Theme", show, mal_id=None) for show in shows]
    assert len(after({}, songs)) == len({song.anime.anime_id for song in songs}) == len(shows)


@pytest.mark.parametrize("end", ["≫", "～", "〜", "」", ")", " - ", "…", "。"])
def test_what_closes_a_title_is_no_mark_of_it(end: str) -> None:
    assert anime_id_of(None, f"Some show{end}") == anime_id_of(None, "Some show")


def test_a_song_whose_anime_was_called_without_its_marks_keeps_both_ids() -> None:
    """Before marks counted, K-On! had the id of K-On, and K-On!! was folded into it."""
    old = a_song("Main Theme", "K-On", mal_id=None)
    anime = old.anime.model_copy(update={"title": "K-On!"})
    known = old.model_copy(update={"appearances": (Appearance(anime=anime, relation="opening"),)})
    found = after(
        catalogue_of([known]), [a_song("Main Theme", "K-On!", mal_id=None), a_song("Main Theme", "K-On!!", mal_id=None)]
    )
    assert found[known.song_id].anime.title == "K-On!" and found[known.song_id].anime.anime_id == anime.anime_id
    assert {song.anime.title for song in found.values()} == {"K-On!", "K-On!!"}


_TITLES = st.sampled_from(["Sakura", "Sakurairo", "Hitomi no Tsubasa", "Hitomi no Tubasa", "Rain", "Part 1", "Part 2"])
_SONGS = st.builds(
    a_song,
    _TITLES,
    st.sampled_from(["Show", "Show!", "Shows", "Other"]),
    mal_id=st.sampled_from([None, 1, 2]),
    anidb=st.sampled_from([None, None, 5, 6]),
    relation=st.sampled_from(["opening", "ending"]),
    singers=st.sampled_from([(), ("Ann",), ("Bob",)]),
    video=st.sampled_from([None, "v", "w"]),
)
_FILES = st.lists(_SONGS, max_size=6).map(lambda songs: list(catalogue_of(songs).values()))


@given(_FILES, _FILES)
def test_ids_are_for_life_and_an_import_is_idempotent(first: list[Song], second: list[Song]) -> None:
    known = after({}, first)
    found = after(known, second)
    own = found.keys()
    aliases = [alias for song in found.values() for alias in song.aliases]
    assert own.isdisjoint(aliases), "an id that is a song's own means that song"
    for song_id in known:
        assert song_id in own or song_id in aliases, "every id that was ever given still means a song"
    assert after(found, second) == found
    assert len(settled(second, known).songs) == len(second)
    assert len(aliases) == len(set(aliases)), "an alias means one song"


def test_credits_are_joined_without_repeats() -> None:
    one = a_song("Tsubasa", singers=("Ann",)).model_copy(update={"credits": Credits(vocals=("Ann",), lyrics=("Cy",))})
    assert joined(one, a_song("Tsubasa!", singers=("Ann", "Bob"))).credits == Credits(
        vocals=("Ann", "Bob"), lyrics=("Cy",)
    )


def test_an_anime_record_without_aliases_is_as_short_as_before() -> None:
    assert "aliases" not in Anime(anime_id="mal-1", title="Show").model_dump_json()
