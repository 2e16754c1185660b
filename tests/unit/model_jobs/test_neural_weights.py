"""A model is told apart by what it computes, not by where it lies; one that cannot be had says how to get it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model_jobs.neural.weights import find_weights
from model_jobs.registry import buildable, model_named
from services.common.settings import REPO_ROOT, Settings
from tests.unit.model_jobs.neural_worlds import model_directory


def test_the_same_files_elsewhere_are_the_same_model(tmp_path: Path) -> None:
    here = find_weights("mpnet", str(model_directory(tmp_path / "here")))
    there = find_weights("mpnet", str(model_directory(tmp_path / "there", transformers_version="9")))
    assert (here.name, here.revision) == (there.name, there.revision) and here.name == "bert 16x2"
    assert len(here.revision) == 32
    shutil.copy(REPO_ROOT / "README.md", here.directory)
    assert find_weights("mpnet", str(here.directory)).revision == here.revision


@pytest.mark.parametrize("change", [{"weights": b"other"}, {"hidden_act": "relu"}])
def test_other_weights_or_another_configuration_are_another_model(tmp_path: Path, change: dict[str, object]) -> None:
    before = find_weights("mpnet", str(model_directory(tmp_path / "a")))
    after = find_weights("mpnet", str(model_directory(tmp_path / "b", **change)))  # type: ignore[arg-type]
    assert before.revision != after.revision


def test_what_is_no_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no directory .*ANIMUSIC_MODELS__NEURAL='\{\"mpnet\": "):
        find_weights("mpnet", str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"no modules\.json"):
        find_weights("mpnet", str(tmp_path))
    pickled = model_directory(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ValueError, match="no weights as safetensors"):
        find_weights("mpnet", str(pickled))


def test_the_registry_takes_the_settings_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMUSIC_MODELS__NEURAL", f'{{"mpnet": "{model_directory(tmp_path / "m")}"}}')
    settings = Settings(data_dir=tmp_path)
    assert buildable(settings) == ["tfidf", "node2vec", "minilm", "mpnet"]
    assert settings.models.neural["minilm"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert model_named(settings, "mpnet").params()["model"] == "bert 16x2"
    with pytest.raises(ValueError, match="mpnet has no parameters"):
        model_named(settings, "mpnet", {"dimension": 3})


def test_without_the_extra_one_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # How Python notes that a module cannot be imported; where the extra is not installed it changes nothing.
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(RuntimeError, match=r"mpnet is not built.*pip install 'animusic\[neural\]'"):
        model_named(Settings(data_dir=tmp_path), "mpnet").params()


def test_finding_a_model_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from model_jobs.registry import model_named; from services.common.settings import Settings; "
        f"model_named(Settings(models={{'neural': {{'mpnet': {str(model_directory(tmp_path / 'm'))!r}}}}}), 'mpnet')"
        ".params(); sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'scipy', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO_ROOT, timeout=60).returncode == 0
