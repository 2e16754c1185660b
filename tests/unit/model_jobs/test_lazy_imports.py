"""Only a build imports gensim and networkx, and only a picture matplotlib: serving starts without them."""

import subprocess
import sys

import pytest

_HEAVY = ("gensim", "networkx", "matplotlib", "torch")


@pytest.mark.parametrize(
    "serving",
    [
        "services.recommender.app", "services.gateway.app", "services.profiles.app", "services.warehouse.app",
        "services.cli.main", "services.cli.models_evaluate", "model_jobs.rebuild_worker",
    ],
)  # fmt: skip
def test_what_serves_imports_nothing_that_only_builds_need(serving: str) -> None:
    script = f"import sys, {serving}; print(*{set(_HEAVY)} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout.split() == []


def test_a_build_imports_both() -> None:
    script = (
        "import sys; from collectors.synthetic import synthetic_songs; from model_jobs.node2vec import Node2Vec; "
        "Node2Vec(dimension=2, walks=1).build(synthetic_songs(50)); print(*{'gensim', 'networkx'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert sorted(done.stdout.split()) == ["gensim", "networkx"]
