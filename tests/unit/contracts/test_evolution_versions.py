"""Several versions of a record in one topic: each is read as the newest says it; one from the future is left alone."""

import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from pydantic import AliasPath, BaseModel, Field, TypeAdapter, ValidationError

from contracts.events import EVENT_VERSIONS, FeedbackEvent, first_error, read_event
from contracts.evolution.versions import NewerSchema, Older, Versions
from contracts.fold import fold
from contracts.records import VERSIONS, read_record
from contracts.topics import DEAD_LETTERS, TOPICS
from tests.support.evolving import FeedbackV2, newer, v2_value
from tests.support.histories import history_strategy
from tests.unit.contracts.test_examples import EXAMPLES, examples


class First(BaseModel):
    """Version 1: seconds."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    seconds: float


class Second(BaseModel):
    """Version 2: whole milliseconds."""

    schema_: Annotated[Literal[2], Field(alias="schema")]
    ms: int


class Third(BaseModel):
    """Version 3: and who said so."""

    schema_: Annotated[Literal[3], Field(alias="schema")]
    ms: int
    by: str


THREE: Versions[Third] = Versions(
    TypeAdapter(Third),
    Older(TypeAdapter(First), lambda one: Second(schema=2, ms=round(one.seconds * 1000))),
    Older(TypeAdapter(Second), lambda two: Third(schema=3, ms=two.ms, by="unknown")),
)


@pytest.mark.parametrize(
    ("value", "by"),
    [
        (b'{"schema":1,"seconds":1.5}', "unknown"),
        (b'{"seconds":1.5}', "unknown"),
        (b'{"seconds": 1.5, "schema": 1}', "unknown"),
        (b'{"schema":2,"ms":1500}', "unknown"),
        (b'{ "ms":1500,"schema" : 2}', "unknown"),
        (b'{"schema":3,"ms":1500,"by":"page"}', "page"),
        (b'{"by":"page","ms":1500,"schema":3}', "page"),
    ],
)
def test_every_version_is_read_as_the_newest_in_any_layout(value: bytes, by: str) -> None:
    assert THREE.read(value) == Third(schema=3, ms=1500, by=by)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'{"schema":0,"ms":1}', "schema: Input should be 3"),
        (b'{"schema":-7,"ms":1}', "schema: Input should be 3"),
        (b'{"schema":1,"ms":1}', "seconds: Field required"),
        (b'{"schema":2,"seconds":1}', "ms: Field required"),
        (b'{"schema":1,"seconds":1,"schema":3}', "schema: Input should be 1"),
        (b'{"schema":"3","ms":1,"by":""}', "schema: Input should be 3"),
        (b'{"schema":true,"seconds":1}', "schema: Input should be 3"),
        (b'{"schema":null,"seconds":1}', "schema: Input should be 3"),
        (b'{"schema":3', "Invalid JSON"),
        (b"", "Invalid JSON"),
        (b"[1]", "should be an object"),
        (b"\xff\xfe", "Invalid JSON"),
        (b'{"schema":1,"seconds":1}{"schema":1}', "Invalid JSON"),
    ],
)
def test_a_record_is_checked_by_its_own_version(value: bytes, reason: str) -> None:
    with pytest.raises(ValidationError) as refused:
        THREE.read(value)
    assert reason in first_error(refused.value)


@pytest.mark.parametrize("value", [b'{"schema":4,"ms":1}', b'{"ms":1,"schema":11}', b'{"schema":4}'])
def test_a_newer_version_is_reported_as_such(value: bytes) -> None:
    with pytest.raises(NewerSchema, match=r"schema version \d+ is newer .* \(3\): upgrade consumers first") as newer:
        THREE.read(value)
    assert not isinstance(newer.value, ValidationError)


@given(history_strategy())
def test_a_history_in_two_versions_folds_to_the_same(history: list[FeedbackEvent]) -> None:
    versions = newer()
    mixed = [v2_value(event) if number % 2 else event.log_value() for number, event in enumerate(history)]
    read = [versions.read(value) for value in mixed]
    assert all(isinstance(event, FeedbackV2) for event in read)
    assert fold(read) == fold(history)


def test_what_the_older_version_could_not_know_is_unknown() -> None:
    value = (EXAMPLES / "animusic.feedback.v1" / "liked.good.json").read_bytes()
    assert newer().read(value).client.version == "unknown"
    known = newer().read(v2_value(read_event(value), version="1.4.0"))
    assert (known.client.version, known.schema_) == ("1.4.0", 2)


def test_every_topic_is_read_through_its_versions() -> None:
    assert {*VERSIONS, DEAD_LETTERS.name} == {topic.name for topic in TOPICS}
    for path in examples("good"):
        if path.parent.name in VERSIONS:
            told: dict[str, Any] = json.loads(path.read_bytes())
            assert read_record(path.parent.name, path.read_bytes()) == read_record(
                path.parent.name, json.dumps(told, separators=(",", ":")).encode()
            )
            with pytest.raises(NewerSchema):
                read_record(path.parent.name, json.dumps({**told, "schema": 9}).encode())
            with pytest.raises(ValidationError):
                read_record(path.parent.name, json.dumps({**told, "schema": 0}).encode())


def test_the_gateway_writes_the_version_first() -> None:
    value = read_event((EXAMPLES / "animusic.feedback.v1" / "liked.good.json").read_bytes()).log_value()
    assert value[:12] in EVENT_VERSIONS._by_head


def test_a_nested_v2_is_another_record_and_no_v1() -> None:
    assert FeedbackV2.model_fields["watch_ms"].validation_alias == AliasPath("watched", "ms")
    with pytest.raises(NewerSchema):
        read_event(v2_value(FeedbackEvent.model_validate_json(_liked())))


def _liked() -> bytes:
    return (EXAMPLES / "animusic.feedback.v1" / "liked.good.json").read_bytes()
