"""Every topic and kind has a good example and a bad one; a bad one is rejected for the reason in its name."""

import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from contracts.events import ClientEvent, Kind
from contracts.topics import DEAD_LETTER_HEADERS, DEAD_LETTERS, TOPICS
from services.cli.schemas import RECORDS

EXAMPLES = Path(__file__).parents[3] / "contracts" / "examples"
KINDS = {
    "animusic.feedback.v1": set(get_args(Kind)),
    "client-events": set(get_args(Kind)),
    "animusic.playlists.v1": {"playlist"},
    "animusic.profiles.v1": {"anime_list", "forgotten"},
    "animusic.catalogue.v1": {"song", "withdrawn"},
    "animusic.models.v1": {"live_model"},
    "animusic.model-builds.v1": {"build", "switch"},
    "animusic.ledger.v1": {"account", "tally", "round"},
    "animusic.dead-letters.v1": {"dead_letter"},
}


def examples(quality: str) -> list[Path]:
    """The example files of a quality, `good` or `bad`."""
    return sorted(EXAMPLES.rglob(f"*.{quality}.*json"))


def read(path: Path) -> Any:
    """Take an example as the part that receives it would. Raises ValidationError or ValueError."""
    topic, text = path.parent.name, path.read_text(encoding="utf-8")
    if topic == DEAD_LETTERS.name:
        return _dead_letter(json.loads(text))
    if topic == "client-events":
        return ClientEvent.model_validate_json(text)
    return RECORDS[topic].validate_json(text)


def _dead_letter(example: dict[str, Any]) -> bytes:
    lacking = [name for name in DEAD_LETTER_HEADERS if name not in example["headers"]]
    if lacking:
        raise ValueError(f"headers lack {', '.join(lacking)}")
    return b64decode(example["value_base64"], validate=True)


def slug(text: str) -> str:
    """Words of a sentence as a file name has them."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def test_every_topic_and_kind_has_a_good_and_a_bad_example() -> None:
    assert set(KINDS) == {topic.name for topic in TOPICS} | {"client-events"}
    for quality in ("good", "bad"):
        found: dict[str, set[str]] = {}
        for path in examples(quality):
            found.setdefault(path.parent.name, set()).add(path.name.split(".")[0])
        assert found == KINDS, quality


def test_a_feedback_example_has_the_kind_of_its_name() -> None:
    for path in examples("good"):
        if path.parent.name in ("animusic.feedback.v1", "client-events"):
            assert read(path).kind == path.name.split(".")[0]


@pytest.mark.parametrize("path", examples("good"), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_good_examples_are_accepted(path: Path) -> None:
    assert read(path) is not None


@pytest.mark.parametrize("path", examples("bad"), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_bad_examples_are_rejected_for_the_reason_in_their_name(path: Path) -> None:
    with pytest.raises(ValueError) as refused:
        read(path)
    assert any(path.name.split(".")[2] in slug(reason) for reason in _reasons(refused.value))


def _reasons(error: ValueError) -> list[str]:
    """Every reason: where several kinds of record are possible, each says why it is not that one."""
    if not isinstance(error, ValidationError):
        return [str(error)]
    return [" ".join((*map(str, detail["loc"]), detail["msg"])) for detail in error.errors()]
