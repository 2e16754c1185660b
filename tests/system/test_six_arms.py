"""A first start without torch serves six arms, to a listener who has only an anime list, and says what each takes."""

import re
from importlib.util import find_spec

import httpx
import psutil
import pytest

from contracts.arms import ARMS
from tests.support.system import PARTS

pytestmark = pytest.mark.system

ENTRIES = [
    {"mal_id": 9253, "status": "completed", "score": 9},
    {"mal_id": 5114, "status": "completed", "score": 10},
    {"mal_id": 1, "status": "watching"},
]


def test_the_first_start_imported_the_shipped_vectors(first_start) -> None:
    _, printed = first_start
    assert "models minilm, mpnet: shipped vectors, live" in printed
    assert "not built" not in printed


@pytest.mark.parametrize("part", PARTS)
def test_nothing_that_runs_has_torch_in_it(system, part) -> None:
    process = psutil.Process(system.part(part)["pid"])
    # macOS does not tell what a process has mapped; there, what it has open says less.
    mapped = process.memory_maps() if hasattr(process, "memory_maps") else process.open_files()
    assert not any("/torch/" in file.path for file in mapped)


def test_a_newcomer_with_an_anime_list_gets_six_arms(system, listener) -> None:
    answer = listener.http.put("/v1/profile/anime", json={"entries": ENTRIES})
    assert answer.status_code == 200, answer.text
    first = listener.playlist(answer.json()["receipt"])
    assert {slot["arm"] for slot in first["slots"]} == set(ARMS)
    assert (first["left_out"], first["cold"], first["fresh"]) == ({}, "list", True)
    assert len({slot["anime_id"] for slot in first["slots"]}) == len(ARMS)


def test_each_arms_median_is_in_the_metrics_that_everybody_sees(system, listener) -> None:
    for _ in range(9):
        listener.playlist()
    text = httpx.get(f"{system.url}/metrics").text
    found = dict(re.findall(r'animusic_gateway_arm_p50_seconds{arm="(\w+)"} (\S+)', text))
    assert set(found) == set(ARMS)
    assert all(0 < float(seconds) <= 0.25 for seconds in found.values()), found


def test_what_an_encoder_would_have_to_build_is_refused_with_a_sentence(system) -> None:
    done = system.command("models", "build", "mpnet", HF_HUB_OFFLINE="1", HF_HOME=str(system.data_dir / "no-hub"))
    assert done.returncode == 1
    assert done.stderr.startswith("animusic: mpnet is not built, and what is live stays: ")
    # Where the extra is installed, what is missing is the model.
    how = "/path/to/copy" if find_spec("sentence_transformers") else "pip install 'animusic[neural]'"
    assert how in done.stderr and len(done.stderr.strip().splitlines()) == 1
    listed = system.command("models", "list").stdout
    assert [line.split()[-1] for line in listed.splitlines() if "mpnet" in line] == ["live"]
