"""What is withheld cannot be seen: a model that reads one field finds everything with it, and chance without it."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from collectors.synthetic import synthetic_songs
from contracts.catalogue import Anime, Appearance, Credits, Song
from model_jobs.evaluate.asking import Candidates, Likeness, retrieval
from model_jobs.evaluate.scoring import PopularArm, RandomArm, Space
from model_jobs.evaluate.traits import Shared, franchises, stem_of, values_of
from model_jobs.evaluate.withhold import FIELDS, Field, withhold
from model_jobs.model import Vectors
from model_jobs.tfidf import text_of

SONGS = synthetic_songs(400)


def song(number: int, *, title: str = "", anime: Sequence[Anime] = (), **more: object) -> Song:
    used = anime or (Anime(anime_id=f"a{number}", title=f"Anime {number}"),)
    appearances = tuple(Appearance(anime=each, relation="opening") for each in used)
    return Song(song_id=f"s{number}", title=title or f"Song {number}", appearances=appearances, **more)


def reader(songs: Sequence[Song], of: Callable[[Song], Sequence[str]], seed: int = 0) -> Vectors:
    """A model that reads one field and nothing else; what it does not know it puts anywhere."""
    names = sorted({name for each in songs for name in of(each)})
    rows = 1e-3 * np.random.default_rng(seed).normal(size=(len(songs), len(names) + 16)).astype(np.float32)
    for row, each in enumerate(songs):
        for name in of(each):
            rows[row, names.index(name)] = 1
    return Vectors([each.song_id for each in songs], rows, {})


READS: dict[Field, Callable[[Song], Sequence[str]]] = {
    "franchise": lambda each: [a.anime.title for a in each.appearances if a.anime.title],
    "composer": lambda each: each.credits.composition,
    "artist": lambda each: each.credits.vocals,
    "tags": lambda each: each.tags,
    "genres": lambda each: [genre for a in each.appearances for genre in a.anime.genres],
}


@pytest.mark.parametrize("field", FIELDS)
def test_who_reads_a_field_finds_it_and_without_it_finds_what_chance_finds(field: Field) -> None:
    question = Likeness.draw(Candidates.of(SONGS), field)
    seen = retrieval(SONGS, reader(SONGS, READS[field]), field)
    assert seen.hit.min() == seen.reciprocal_rank.min() == 1
    blind = withhold(SONGS, field)
    found = [question.retrieval(Space(SONGS, reader(blind, READS[field], seed))) for seed in range(5)]
    chance = [question.retrieval(RandomArm(len(SONGS), seed)) for seed in range(5)]
    for name in ("precision", "reciprocal_rank"):
        by_reading, by_chance = (np.mean([getattr(each, name) for each in group]) for group in (found, chance))
        assert by_reading == pytest.approx(by_chance, rel=0.2)
        assert getattr(seen, name).mean() > 1.3 * by_chance


@pytest.mark.parametrize("field", FIELDS)
def test_nothing_of_a_withheld_field_is_left_in_a_record_or_a_text(field: Field) -> None:
    left = withhold(SONGS, field)
    for before, after in zip(SONGS, left, strict=True):
        gone, text, record = READS[field](before), text_of(after), after.log_value().decode()
        assert gone and before.song_id == after.song_id
        assert not any(f'"{name}"' in record or name in text.split(" ") for name in gone)
    assert withhold(SONGS, None) == SONGS


def test_a_name_goes_wherever_it_is_credited_and_others_stay() -> None:
    both = song(1, credits=Credits(vocals=("YUI", "Ann"), lyrics=("yui",), composition=("YUI",)))
    (left,) = withhold([both], "composer")
    assert left.credits == Credits(vocals=("Ann",))
    (left,) = withhold([both], "artist")
    assert left.credits == Credits()


def test_a_tag_that_names_a_genre_goes_with_the_genres_and_the_other_way_round() -> None:
    action = Anime(anime_id="a", title="A", genres=("Sci-Fi", "Drama"))
    songs = [song(1, anime=[action], tags=("school",)), song(2, tags=("sci fi", "School"))]
    without_genres = withhold(songs, "genres")
    assert [each.tags for each in without_genres] == [("school",), ("School",)]
    assert not without_genres[0].anime.genres
    without_tags = withhold(songs, "tags")
    assert [each.tags for each in without_tags] == [(), ()] and without_tags[0].anime.genres == ("Drama",)


def test_a_withheld_anime_leaves_genres_but_nothing_that_names_it() -> None:
    long_id = "x" * 64
    known = Anime(anime_id=long_id, title="T", mal_id=7, score=8.1, rank=3, popularity=9, genres=("Drama",))
    left = withhold([song(1, anime=[known, known]), song(2, anime=[known])], "franchise")
    assert left[0].anime.genres == ("Drama",) and len(left[0].appearances) == 1
    assert left[0].anime.anime_id != left[1].anime.anime_id
    assert left[0].anime.model_dump(exclude={"anime_id", "genres"}, exclude_defaults=True) == {"title": ""}


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(ValueError, match="no field is named 'mood'"):
        withhold(SONGS[:1], "mood")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("title", "stem"),
    [
        ("Naruto: Shippuuden Movie 1", "naruto"),
        ("Shingeki no Kyojin Season 3 Part 2", "shingekinokyojin"),
        ("Sword Art Online II", "swordartonline"),
        ("Kimi no Na wa.", "kiminonawa"),
        ("Mob Psycho 100", "mobpsycho100"),
        ("K: Missing Kings", "kmissingkings"),
    ],
)
def test_stems_of_titles(title: str, stem: str) -> None:
    assert stem_of(title) == stem


def test_a_franchise_is_joined_by_titles_and_by_songs() -> None:
    one, two = Anime(anime_id="1", title="Sailor Moon"), Anime(anime_id="2", title="Sailor Moon: Eternal")
    three, four = Anime(anime_id="3", title="Crystal"), Anime(anime_id="4", title="Else")
    found = franchises([song(1, anime=[one]), song(2, anime=[two, three]), song(3, anime=[four])])
    assert found == {"1": "1", "2": "1", "3": "1", "4": "4"}


def test_liked_songs_and_those_of_their_title_are_no_candidates() -> None:
    home = Anime(anime_id="h", title="Home")
    songs = [song(0, anime=[home]), song(1, anime=[home]), song(2, title="SONG 0"), song(3), song(4)]
    candidates = Candidates.of(songs)
    likes = np.array([[0, 3]])
    assert candidates.open_to(likes, elsewhere=False).tolist() == [[False, True, False, False, True]]
    assert candidates.open_to(likes, elsewhere=True).tolist() == [[False, False, False, False, True]]


def test_likeness_by_hand() -> None:
    values = [{"a", "b"}, {"b"}, set(), {"a", "b", "c", "d"}]
    shared = Shared(values)
    rows = np.array([0, 2])
    assert shared.any(rows).tolist() == [[True, True, False, True], [False] * 4]
    np.testing.assert_allclose(shared.jaccard(rows), [[1, 1 / 2, 0, 1 / 2], [0, 0, 0, 0]])
    assert values_of([song(1, credits=Credits(vocals=("A b",)))], "artist") == [frozenset({"ab"})]


def test_what_a_model_left_out_is_never_brought_and_finds_nothing() -> None:
    songs = [song(number) for number in range(3)]
    space = Space(songs, Vectors(["s0", "s2"], np.eye(2, dtype=np.float32), {"s1": "no word"}))
    found = space.scores(np.array([[0, 2], [1, 1]]))
    assert found[0, 0] == pytest.approx(found[0, 2], abs=2e-6) and np.isneginf(found[:, 1]).all()
    assert np.isneginf(found[1]).all()


def test_sparse_and_dense_rows_give_the_same_cosines() -> None:
    import scipy.sparse

    rows = np.maximum(np.random.default_rng(2).normal(size=(400, 30)), 0).astype(np.float32)
    ids, likes = [each.song_id for each in SONGS], np.array([[1, 2, 3], [7, 8, 9]])
    dense = Space(SONGS, Vectors(ids, rows, {})).scores(likes)
    sparse = Space(SONGS, Vectors(ids, scipy.sparse.csr_array(rows), {})).scores(likes)
    np.testing.assert_allclose(dense, sparse, atol=3e-6)
    mean = rows[[1, 2, 3]].mean(axis=0)
    by_hand = rows @ mean / (np.linalg.norm(mean) * np.linalg.norm(rows, axis=1))
    np.testing.assert_allclose(dense[0], by_hand, atol=3e-6)


def test_popular_is_views_then_rank_then_id() -> None:
    from contracts.catalogue import Link

    ranked = Anime(anime_id="r", title="R", popularity=5)
    viewed = [Link(site="youtube", id="x", views=views) for views in (10, 500)]
    songs = [song(0), song(1, anime=[ranked]), song(2, links=(viewed[0],)), song(3, links=tuple(viewed)), song(4)]
    order = np.argsort(-PopularArm(songs).scores(np.array([[0]]))[0])
    assert order.tolist() == [3, 2, 1, 0, 4]
