"""The JSON Schemas in contracts/schemas are what the contracts generate now, and they judge as the contracts do."""

import json

import pytest
from jsonschema import Draft202012Validator

from services.cli.schemas import RECORDS, SCHEMAS, generated, stale_files, unpublished
from tests.unit.contracts.test_examples import examples


def test_no_schema_is_stale() -> None:
    stale = sorted(str(path.relative_to(SCHEMAS)) for path in stale_files(SCHEMAS, unpublished()))
    assert not stale, f"`animusic schemas` writes them anew: {stale}"


def test_a_changed_a_missing_and_a_surplus_file_are_noticed(tmp_path) -> None:
    for name, text in generated().items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert stale_files(tmp_path, generated()) == {}
    changed, missing, surplus = tmp_path / "http/Problem.json", tmp_path / "http/NewSession.json", tmp_path / "old.json"
    changed.write_text("{}")
    missing.unlink()
    surplus.write_text("{}")
    assert set(stale_files(tmp_path, generated())) == {changed, missing, surplus}
    assert stale_files(tmp_path, generated())[surplus] is None


# A dead letter is somebody's untouched bytes: it has no schema of its own.
WITH_SCHEMA = [path for path in examples("good") if path.parent.name in {*RECORDS, "client-events"}]


@pytest.mark.parametrize("path", WITH_SCHEMA, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_good_examples_are_valid_by_schema(path) -> None:
    topic = path.parent.name
    file = f"topics/{topic}.json" if topic in RECORDS else "http/ClientEvent.json"
    validator = Draft202012Validator(json.loads(generated()[file]))
    assert list(validator.iter_errors(json.loads(path.read_text(encoding="utf-8")))) == []
