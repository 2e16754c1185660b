"""Which rows are one song."""

from hypothesis import given
from hypothesis import strategies as st

from collectors.entries import Entry
from collectors.merging import merged
from contracts.catalogue import Anime, Credits, Link, anime_id_of


def entry(title: str, mal_id: int | None, *singers: str, anidb: int | None = None, relation: str = "opening") -> Entry:
    anime = Anime(anime_id=anime_id_of(mal_id, f"Anime {mal_id}"), title=f"Anime {mal_id}", mal_id=mal_id)
    return Entry(title, anidb, anime, relation, credits=Credits(vocals=singers))


def test_an_opening_that_is_also_the_ending_is_one_song_with_two_appearances() -> None:
    (song,) = merged([entry("Song", 5, relation="ending"), entry("SONG!", 5)])
    assert [appearance.relation for appearance in song.appearances] == ["opening", "ending"]
    assert song.title == "SONG!"


def test_a_song_of_several_anime_is_joined_by_its_singers_and_keeps_the_older_anime_s_id() -> None:
    (song,) = merged([entry("Song", 9, "A", "B"), entry("song", 5, "b", "a")])
    assert [appearance.anime.mal_id for appearance in song.appearances] == [5, 9]
    assert song.song_id == entry("song", 5).song_id and song.credits.vocals == ("b", "a", "A", "B")


def test_equal_titles_alone_join_nothing_across_anime() -> None:
    assert (
        len(merged([entry("Hikari", 5), entry("Hikari", 9), entry("Hikari", 11, "A"), entry("Hikari", 12, "B")])) == 4
    )


def test_anidb_has_the_last_word() -> None:
    assert len(merged([entry("One", 5, anidb=1), entry("Two", 9, anidb=1)])) == 1
    assert len(merged([entry("Song", 5, "A", anidb=1), entry("Song", 9, "A", anidb=2)])) == 2
    (joined,) = merged([entry("Song", 5, "A"), entry("Song", 9, "A", anidb=2)])
    assert joined.song_id == "anidb-2"
    assert len(merged([entry("Song", 5, "A", anidb=1), entry("Song", 9, "A", anidb=2), entry("Song", 11, "A")])) == 3


def test_a_chain_of_joins_never_ties_two_songs_of_anidb() -> None:
    between = [entry("Song", 7, "A"), entry("Song", 7, "B")]
    songs = merged([entry("Song", 5, "A", anidb=1), *between, entry("Song", 9, "B", anidb=2)])
    assert {song.song_id for song in songs} == {"anidb-1", "anidb-2", between[0].song_id}


def test_links_are_kept_once_with_their_highest_counts_the_most_viewed_first() -> None:
    rows = [(None, "c"), (5, "b"), (None, "b"), (0, "d"), (900, "a")]
    links = [Link(site="youtube", id=id * 11, views=views) for views, id in rows]
    base = entry("Song", 5)
    (song,) = merged([Entry(base.title, None, base.anime, base.relation, link=link) for link in links])
    assert [(link.id[0], link.views) for link in song.links] == [("a", 900), ("b", 5), ("d", 0), ("c", None)]


_entries = st.builds(
    lambda title, mal, singers, anidb, relation: entry(title, mal, *singers, anidb=anidb, relation=relation),
    st.sampled_from(["Song", "song", "Other"]),
    st.sampled_from([1, 2, 3, None]),
    st.lists(st.sampled_from(["A", "B"]), max_size=2),
    st.sampled_from([None, None, 1, 2]),
    st.sampled_from(["opening", "ending"]),
)


@given(st.lists(_entries, max_size=12), st.randoms())
def test_the_order_of_rows_and_repeated_rows_change_nothing(entries: list[Entry], random) -> None:
    expected = [song.log_value() for song in merged(entries)]
    shuffled = entries + [random.choice(entries) for _ in range(3) if entries]
    random.shuffle(shuffled)
    songs = merged(shuffled)
    assert [song.log_value() for song in songs] == expected
    assert len({song.song_id for song in songs}) == len(songs)
