"""Whole evaluations of small catalogues: what is measured, what is said to be lacking, and how it is written down."""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from collectors.sources import read, source_named
from collectors.synthetic import synthetic_songs
from contracts.catalogue import Anime, Credits, Link, Song
from model_jobs.evaluate.evaluation import Plan, evaluate
from model_jobs.evaluate.figures import COLUMNS, Evaluation, as_json, write_csv
from model_jobs.evaluate.listeners import Listeners
from model_jobs.evaluate.models_here import arms_here, models_here
from model_jobs.evaluate.picture import drawn, panels_of, write_picture
from model_jobs.model import Report, Vectors, no_report
from model_jobs.neural.cache import EmbeddingCache, digest_of
from model_jobs.tfidf import Tfidf, text_of
from services.cli.main import app
from services.common.settings import Settings

SONGS = synthetic_songs(300)
PLAN = Plan(listeners=60, queries=100)


@dataclass(frozen=True)
class GenreReader:
    """A model that reads an anime's genres and nothing else: without them it has no vector of any song."""

    arm = "minilm"
    vectors = "dense"
    code_version = 1

    def params(self) -> dict[str, Any]:
        return {"reads": "genres"}

    def build(self, songs: Sequence[Song], report: Report = no_report) -> Vectors:
        names = sorted({genre for song in songs for genre in song.anime.genres})
        if not names:
            raise ValueError("no song has a genre to read")
        rows = np.array([[name in song.anime.genres for name in names] for song in songs], dtype=np.float32)
        return Vectors([song.song_id for song in songs], rows, {})


def evaluated(songs: Sequence[Song] = SONGS, plan: Plan = PLAN) -> Evaluation:
    models = {"tfidf": Tfidf(), "minilm": GenreReader()}
    return evaluate(songs, list(models), lambda arm, withheld: models[arm], plan)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluated()


def test_every_arm_is_asked_everything_and_random_stands_beside(evaluation: Evaluation) -> None:
    by_measure: dict[tuple[str, str, str], set[str]] = {}
    for each in evaluation.figures:
        if not each.other_arm and each.measure != "times random":
            by_measure.setdefault((each.question, each.candidates, each.measure), set()).add(each.arm)
    assert {question for question, _, _ in by_measure} == {
        "songs of the same franchise", "songs of the same composer", "songs of the same artist",
        "tags of the nearest songs", "genres of the nearest songs", "three liked songs of one genre",
        "what all listeners get together",
    }  # fmt: skip
    blind = {(q, c, m) for q, c, m in by_measure if "genre" in q}
    for key, arms in by_measure.items():
        assert arms == {"random", "popular", "tfidf"} | (set() if key in blind else {"minilm"})
    pairs = {frozenset((each.arm, each.other_arm)) for each in evaluation.figures if each.other_arm}
    assert len(pairs) == 6


def test_intervals_are_around_their_figures(evaluation: Evaluation) -> None:
    for each in evaluation.figures:
        assert each.interval.low <= each.interval.value <= each.interval.high, each
        assert each.interval.n <= 100 and (each.measure == "novelty (bits)" or each.interval.low >= 0)


def test_what_is_withheld_is_not_used_and_what_is_left_is(evaluation: Evaluation) -> None:
    tfidf, chance = (evaluation.find("precision@10", arm, "genres") for arm in ("tfidf", "random"))
    assert tfidf.value > 2 * chance.value and tfidf.apart_from(chance)
    assert evaluation.find("times random", "tfidf", "genres").value == pytest.approx(tfidf.value / chance.value)
    assert "minilm was not measured with genres withheld: no song has a genre to read" in evaluation.notes
    with pytest.raises(LookupError, match="precision@10 of minilm without genres was not measured"):
        evaluation.find("precision@10", "minilm", "genres")


def test_popular_covers_little_and_is_popular(evaluation: Evaluation) -> None:
    spread = {arm: evaluation.find("coverage", arm, "").value for arm in ("random", "popular")}
    assert spread["popular"] < 0.2 < spread["random"]
    popular, chance = (evaluation.find("popularity percentile", arm, "") for arm in ("popular", "random"))
    assert popular.value > 0.9 and abs(chance.value - 0.5) < 0.1
    novelty = {arm: evaluation.find("novelty (bits)", arm, "").value for arm in ("random", "popular")}
    assert novelty["popular"] < novelty["random"]


def test_a_seed_gives_one_evaluation(evaluation: Evaluation) -> None:
    assert evaluated(list(reversed(SONGS))) == evaluation
    assert evaluated(plan=Plan(60, 100, seed=1)).figures != evaluation.figures


def test_a_catalogue_without_composers_views_or_genres_says_so() -> None:
    bare = []
    for song in SONGS[:120]:
        anime = song.anime.model_copy(update={"genres": (), "popularity": None})
        use = song.appearances[0].model_copy(update={"anime": anime})
        left = Credits(vocals=song.credits.vocals)
        bare.append(song.model_copy(update={"credits": left, "links": (), "appearances": (use,)}))
    found = evaluated(bare)
    said = "\n".join(found.notes)
    assert "no song of the 120 has a composer: nothing is measured of it" in said
    assert "no song of the 120 has a genre:" in said
    assert "120 of 120 songs have a franchise, but none shares it with a song in another anime: not measured" in said
    assert "listeners like any three songs" in said
    assert "0 of 120 songs have views: too few for novelty" in said and "popularity bias is not measured" in said
    measured = {each.measure for each in found.figures}
    assert "coverage" in measured and not {"novelty (bits)", "popularity percentile", "times random"} & measured
    assert not any("composer" in each.question for each in found.figures)


def test_listeners_like_three_songs_of_their_genre() -> None:
    listeners = Listeners.draw(SONGS, 40)
    assert listeners.genre is not None
    for likes, genre in zip(listeners.likes, listeners.genre, strict=True):
        assert len(set(likes)) == 3
        assert all(listeners.genres.matrix[[row]].toarray()[0, genre] for row in likes)
    assert listeners.of_their_genre(listeners.likes).tolist() == [1.0] * 40
    nothing = np.full((40, 10), -1)
    assert listeners.of_their_genre(nothing).tolist() == [0.0] * 40


def test_the_csv_says_what_the_figures_say(evaluation: Evaluation, tmp_path: Path) -> None:
    write_csv(tmp_path / "figures.csv", evaluation)
    with (tmp_path / "figures.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(evaluation.figures) and tuple(rows[0]) == COLUMNS
    for row, figure in zip(rows, evaluation.figures, strict=True):
        assert (row["measure"], row["arm"], row["other_arm"]) == (figure.measure, figure.arm, figure.other_arm)
        assert float(row["low"]) == figure.interval.low and int(row["n"]) == figure.interval.n
    content = json.loads(as_json(evaluation))
    assert len(content["figures"]) == len(rows) and content["notes"] == evaluation.notes
    assert content["about"]["models"] == {"tfidf": Tfidf().params(), "minilm": {"reads": "genres"}}


def test_the_picture_is_whole_and_draws_every_interval(evaluation: Evaluation, tmp_path: Path) -> None:
    for file in (first := tmp_path / "one.svg"), (again := tmp_path / "again.svg"):
        write_picture(file, evaluation, "A <title> & more")
    drawing = ElementTree.parse(first).getroot()
    texts = ["".join(each.itertext()) for each in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert "A <title> & more" in texts and any("three liked songs of one genre, genres withheld" in t for t in texts)
    shown = [
        each for each in evaluation.figures
        if not each.other_arm and not each.measure.startswith(("recall", "hit", "times"))
    ]  # fmt: skip
    panels = drawn(evaluation, "").axes[: len(panels_of(evaluation))]
    dots = [(x, row) for axes in panels for line in axes.lines for x, row in zip(*line.get_data(), strict=True)]
    assert sorted(x for x, _ in dots) == sorted(each.interval.value for each in shown)
    assert all(0 <= x <= axes.get_xlim()[1] for axes in panels for line in axes.lines for x in line.get_xdata())
    assert all(
        sum(text == f"{each.interval.value:.3f}" for text in texts) for each in shown if each.interval.value < 10
    )
    # matplotlib names clip paths by their order in memory, which differs now and then.
    without_ids = [re.sub(r"#?\b[a-z][0-9a-f]{10}\b", "", file.read_text()) for file in (first, again)]
    assert without_ids[0] == without_ids[1]


def test_arms_that_are_not_built_are_named() -> None:
    settings = Settings()
    assert arms_here(settings)[-2:] == ["node2vec", "tfidf"] and arms_here(settings, ["tfidf"]) == ["tfidf"]
    with pytest.raises(ValueError, match="random is measured beside the others"):
        arms_here(settings, ["random"])
    with pytest.raises(ValueError, match="bogus is no arm that is built here"):
        arms_here(settings, ["bogus"])


def test_the_command_prints_tables_and_writes_files(tmp_path: Path) -> None:
    files = ["--csv", str(tmp_path / "f.csv"), "--picture", str(tmp_path / "f.svg")]
    few = ["--catalogue", "synthetic", "--songs", "120", "--listeners", "20", "--queries", "40"]
    result = CliRunner().invoke(app, ["models", "evaluate", "tfidf", *few, *files])
    assert result.exit_code == 0, result.output
    assert "songs of the same composer, composer withheld (n = 40)" in result.output
    assert "lists of two arms for the same listener" in result.output
    assert (tmp_path / "f.csv").read_text().startswith("question,") and "</svg>" in (tmp_path / "f.svg").read_text()
    as_object = CliRunner().invoke(app, ["models", "evaluate", "tfidf", *few, "--json"])
    assert json.loads(as_object.stdout)["about"]["songs"] == 120


def test_only_what_is_asked_for_is_withheld() -> None:
    found = evaluated(plan=Plan(60, 100, withheld=["composer"]))
    assert {each.withheld for each in found.figures} == {"composer"}
    unknown = CliRunner().invoke(app, ["models", "evaluate", "--catalogue", "sample", "--withhold", "mood"])
    assert isinstance(unknown.exception, ValueError) and "`--withhold` takes franchise" in str(unknown.exception)


def test_without_an_encoder_brought_vectors_are_measured_and_withheld_texts_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_installed(arm: str) -> None:
        raise RuntimeError(f"{arm} is not built, and what is live stays: there is no encoder here; install one")

    monkeypatch.setattr("model_jobs.evaluate.models_here.check_installed", not_installed)
    settings = Settings(data_dir=tmp_path)
    texts = [digest_of(text_of(song)) for song in SONGS]
    EmbeddingCache(settings.embeddings_dir, "minilm", "r1").put(texts, np.eye(300, dtype=np.float32))
    found = evaluate(SONGS, ["minilm", "mpnet"], models_here(settings), Plan(20, 40, withheld=["genres", None]))
    assert found.find("coverage", "minilm", "").value > 0
    needs = "it needs an encoder for texts that lack a field: there is no encoder here; install one"
    assert found.notes[-2:] == [
        f"minilm was not measured with genres withheld: {needs}",
        f"mpnet was not measured: {needs}",
    ]


def test_an_arm_that_picks_only_songs_of_unknown_popularity_is_named() -> None:
    link = Link(site="youtube", id="x", views=1_000)
    songs = [song.model_copy(update={"links": ()}) for song in SONGS]
    for row in range(14):
        nowhere = (
            songs[row].appearances[0].model_copy(update={"anime": Anime(anime_id=f"new-{row}", title=f"New {row}")})
        )
        songs[row] = songs[row].model_copy(update={"links": (link,), "appearances": (nowhere,)})
    found = evaluate(songs, [], lambda arm, withheld: Tfidf(), Plan(20, 40, withheld=[None]))
    assert (
        "popular picks no song whose popularity is known: popularity percentile is not measured for it" in found.notes
    )
    assert found.find("popularity percentile", "random", "").n == 20


def test_on_real_songs_models_find_a_genre_that_they_were_not_told_twice_as_often_as_chance() -> None:
    """The sample; docs/models.md has the same of 11,276 songs."""
    settings = Settings()
    found = evaluate(
        read(source_named("sample")).songs, ["tfidf", "node2vec"], models_here(settings), Plan(withheld=["genres"])
    )
    for arm in ("tfidf", "node2vec"):
        for candidates in ("all", "other anime"):
            of_arm, chance = (found.find("precision@10", each, "genres", candidates) for each in (arm, "random"))
            assert of_arm.n == 200 and of_arm.apart_from(chance)
            assert found.find("times random", arm, "genres", candidates).value >= 2
