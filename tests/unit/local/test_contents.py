"""What a start imports and builds depends on what the log holds and on what was noted of it."""

import pytest

from contracts.models import LiveModel
from services.common.settings import Settings
from services.local.contents import CatalogueState, Contents
from services.local.filling import _must_import, _restore_command
from services.local.layout import Layout
from services.local.logs import rotate, tail

STATE = CatalogueState("a" * 32, 304)


def model(arm: str, version: str = "0" * 16) -> LiveModel:
    return LiveModel(arm=arm, version=version, vectors="dense", dimension=2, songs=1, catalogue_digest="c", built_at=0)


def publish(settings: Settings, *models: LiveModel) -> dict[str, LiveModel]:
    """What says that a model lies on the disk; the models by arm."""
    for each in models:
        directory = settings.vectors_dir / each.collection
        directory.mkdir(parents=True)
        (directory / "model.json").touch()
    return {each.arm: each for each in models}


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def built(tmp_path, settings) -> Contents:
    """Both models, built from STATE and on the disk."""
    publish(settings, model("tfidf"), model("node2vec"))
    contents = Contents(Layout.of(tmp_path))
    contents.note_models(STATE, {"tfidf": "0" * 16, "node2vec": "0" * 16})
    return contents


LIVE = {"tfidf": model("tfidf"), "node2vec": model("node2vec")}


def test_nothing_is_built_again_while_all_stays(built, settings) -> None:
    assert built.stale_arms(settings, STATE, LIVE) == []


def test_a_longer_catalogue_makes_both_stale(built, settings) -> None:
    assert built.stale_arms(settings, CatalogueState("a" * 32, 305), LIVE) == ["tfidf", "node2vec"]


def test_another_log_makes_both_stale(built, settings) -> None:
    assert built.stale_arms(settings, CatalogueState("b" * 32, 304), LIVE) == ["tfidf", "node2vec"]


def test_a_model_that_is_not_live_or_could_not_be_built_is_stale(built, settings) -> None:
    assert built.stale_arms(settings, STATE, {"tfidf": model("tfidf")}) == ["node2vec"]
    built.note_models(STATE, {"node2vec": "0" * 16})
    assert built.stale_arms(settings, STATE, LIVE) == ["tfidf"]


def test_a_version_that_somebody_went_back_to_is_left_alone(built, settings) -> None:
    other = {**LIVE, "tfidf": model("tfidf", "1" * 16)}
    assert built.stale_arms(settings, STATE, other) == ["tfidf"]
    publish(settings, other["tfidf"])
    assert built.stale_arms(settings, STATE, other) == []


def test_a_model_whose_files_are_gone_is_stale(built, settings) -> None:
    (settings.vectors_dir / model("tfidf").collection / "model.json").unlink()
    assert built.stale_arms(settings, STATE, LIVE) == ["tfidf"]


def test_what_was_noted_is_read_again(built, tmp_path, settings) -> None:
    built.note_catalogue("sample")
    again = Contents(Layout.of(tmp_path))
    assert again.catalogue == "sample"
    assert again.stale_arms(settings, STATE, LIVE) == []


@pytest.fixture
def shipped(tmp_path, settings) -> tuple[Contents, dict[str, LiveModel]]:
    """The sample, with the shipped vectors live, imported for STATE."""
    live = publish(settings, model("minilm"), model("mpnet"))
    contents = Contents(Layout.of(tmp_path))
    contents.note_catalogue("sample")
    contents.note_shipped(STATE, live)
    return contents, live


def test_the_sample_gets_the_shipped_vectors_once(shipped, settings) -> None:
    contents, live = shipped
    assert contents.shipped_arms(settings, STATE, {}) == ["minilm", "mpnet"]
    assert contents.shipped_arms(settings, STATE, live) == []
    longer = CatalogueState("a" * 32, 305)
    assert contents.shipped_arms(settings, longer, live) == ["minilm", "mpnet"]
    (settings.vectors_dir / model("mpnet").collection / "model.json").unlink()
    assert contents.shipped_arms(settings, STATE, live) == ["mpnet"]


def test_what_somebody_made_live_by_hand_is_left_alone(shipped, settings) -> None:
    contents, live = shipped
    by_hand = {**live, "mpnet": model("mpnet", "1" * 16)}
    assert contents.shipped_arms(settings, CatalogueState("a" * 32, 305), by_hand) == ["minilm"]


def test_another_catalogue_gets_no_shipped_vectors(shipped, settings) -> None:
    contents, live = shipped
    assert contents.without_vectors(live) == []
    contents.note_catalogue("synthetic")
    assert contents.shipped_arms(settings, STATE, {}) == []
    assert contents.without_vectors(live) == contents.without_vectors({}) == ["minilm", "mpnet"]
    assert contents.without_vectors({**live, "mpnet": model("mpnet", "1" * 16)}) == ["minilm"]


@pytest.mark.parametrize(
    ("asked", "loaded", "wanted"),
    [
        (None, "sample", False),
        (None, "synthetic", False),
        ("sample", "sample", False),
        ("synthetic", "sample", True),
        ("sample", None, True),
        ("mine.csv", "mine.csv", True),
    ],
)
def test_a_full_log_gets_another_catalogue_only_when_one_is_asked_for(asked, loaded, wanted) -> None:
    local = {} if asked is None else {"local": {"catalogue": asked}}
    assert _must_import(Settings(**local), loaded) is wanted


def test_a_log_that_grew_is_moved_aside_and_goes_on(tmp_path) -> None:
    log = tmp_path / "part.log"
    assert not rotate(log)
    with log.open("ab") as child:
        child.write(b"x" * 100)
        child.flush()
        assert not rotate(log, most_bytes=100)
        assert rotate(log, most_bytes=99)
        child.write(b"next")
        child.flush()
    assert log.read_bytes() == b"next"
    assert log.with_suffix(".log.1").read_bytes() == b"x" * 100


def test_the_tail_begins_with_a_whole_line(tmp_path) -> None:
    log = tmp_path / "part.log"
    log.write_text("first line\nsecond line\nthird line\n")
    assert tail(log, 25).endswith(":\nsecond line\nthird line")
    assert tail(tmp_path / "none.log").endswith("(empty)")


def test_a_sentence_model_that_is_live_and_not_here_is_lost_until_its_vectors_are_back(settings) -> None:
    encoded = model("minilm").model_copy(update={"params": {"revision": "a" * 32}})
    live = {"minilm": encoded, "tfidf": model("tfidf")}
    contents = Contents(Layout.of(settings.data_dir))
    assert contents.lost_arms(settings, live) == ["minilm"]
    assert _restore_command(settings, encoded) == ("models", "import", "sample", "--arm", "minilm", "--as-live")
    settings.embeddings_dir.mkdir()
    (settings.embeddings_dir / f"minilm-{'a' * 32}.sqlite").touch()
    assert _restore_command(settings, encoded) == ("models", "build", "minilm", "--as-live")
    publish(settings, encoded)
    assert contents.lost_arms(settings, live) == []
