"""The check that guards what is published: each kind of breaking change is refused, each compatible one is not."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model

from contracts import fold
from contracts.events import FeedbackEvent
from contracts.evolution.compatible import breaks
from contracts.evolution.meanings import specimens
from contracts.profiles import PROFILE_RECORD
from services.cli import schemas

EVENT: dict[str, Any] = FeedbackEvent.model_json_schema()
Change = Callable[[dict[str, Any]], Any]


def changed(change: Change, schema: dict[str, Any] = EVENT) -> dict[str, Any]:
    """A copy of a schema with one change."""
    proposed = copy.deepcopy(schema)
    change(proposed)
    return proposed


def field(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A field of a schema; of an optional one, what it is when it is there."""
    return lambda schema: schema["properties"][name].get("anyOf", [schema["properties"][name]])[0]


BREAKING: dict[str, tuple[Change, str]] = {
    "a removed field": (lambda s: s["properties"].pop("rate"), "rate: would not be read any more"),
    "a renamed field": (lambda s: s["properties"].update(speed=s["properties"].pop("rate")), "rate: would not be read"),
    "a new required field": (
        lambda s: (s["properties"].update(client={"type": "string"}), s["required"].append("client")),
        "client: would be required",
    ),
    "an optional field made required": (lambda s: s["required"].append("song_id"), "song_id: would be required"),
    "another type": (lambda s: field("occurred_at")(s).update(type="string"), "occurred_at: was integer and would be"),
    "a number made whole": (lambda s: field("p_arm")(s).update(type="integer"), "p_arm: no longer accepts number"),
    "null no longer taken": (
        lambda s: s["properties"]["rate"].update(anyOf=[{"type": "number"}]),
        "rate: no longer accepts null",
    ),
    "a value less": (lambda s: field("kind")(s)["enum"].remove("unliked"), "kind: would no longer accept 'unliked'"),
    "values where all were taken": (lambda s: field("link")(s).update(enum=["a"]), "link: would be limited to 'a'"),
    "another version under the same name": (lambda s: s["properties"]["schema"].update(const=2), "schema: would no"),
    "a higher lower bound": (lambda s: field("watch_ms")(s).update(minimum=1), "watch_ms: its lower bound"),
    "an exclusive lower bound": (lambda s: field("watch_ms")(s).update(exclusiveMinimum=0), "watch_ms: its lower"),
    "a lower upper bound": (lambda s: field("slot")(s).update(maximum=5), "slot: its upper bound"),
    "a bound where none was": (lambda s: field("issued_at")(s).update(minimum=0), "issued_at: its lower bound"),
    "shorter text": (lambda s: field("user_id")(s).update(maxLength=64), "user_id: maxLength would fall"),
    "text that may not be empty": (lambda s: field("link")(s).update(minLength=1), "link: minLength would rise"),
    "another pattern": (lambda s: field("user_id")(s).update(pattern="^g-"), "user_id: pattern was"),
    "a format": (lambda s: field("link")(s).update(format="uri"), "link: format was 'free'"),
    "another meaning of absence": (
        lambda s: s["properties"]["attribution"].update(default="claimed"),
        "attribution: an absent value meant",
    ),
    "absence means something": (lambda s: s["properties"]["muted"].update(default=False), "muted: an absent value"),
    "unknown fields refused": (
        lambda s: s.update(additionalProperties=False),
        "the record: would reject unknown fields",
    ),
    "a word that the check does not know": (lambda s: field("rate")(s).update(multipleOf=0.25), "rate: multipleOf was"),
}

COMPATIBLE: dict[str, Change] = {
    "nothing": lambda _s: None,
    "an optional field": lambda s: s["properties"].update(client={"anyOf": [{"type": "string"}, {"type": "null"}]}),
    "an optional field with a default": lambda s: s["properties"].update(n={"type": "integer", "default": 3}),
    "a required field made optional": lambda s: s["required"].remove("received_at"),
    "a value more": lambda s: field("kind")(s)["enum"].append("paused"),
    "any value": lambda s: field("direction")(s).pop("enum"),
    "whole numbers made any": lambda s: field("watch_ms")(s).update(type="number"),
    "null taken, too": lambda s: s["properties"].update(user_id={"anyOf": [field("user_id")(s), {"type": "null"}]}),
    "a lower lower bound": lambda s: field("occurred_at")(s).update(minimum=0),
    "an inclusive lower bound": lambda s: field("duration_ms")(s).pop("exclusiveMinimum"),
    "a higher upper bound": lambda s: field("slot")(s).update(maximum=500),
    "no bound": lambda s: field("slot")(s).pop("maximum"),
    "longer text": lambda s: field("user_id")(s).update(maxLength=256),
    "no pattern": lambda s: field("user_id")(s).pop("pattern"),
    "other words": lambda s: s.update(title="Event", description="One."),
}


@pytest.mark.parametrize("name", BREAKING)
def test_a_breaking_change_is_refused_with_where_and_what(name: str) -> None:
    change, said = BREAKING[name]
    found = [str(each) for each in breaks(EVENT, changed(change))]
    assert len(found) == 1, found
    assert found[0].startswith(said) or said in found[0]


@pytest.mark.parametrize("name", COMPATIBLE)
def test_a_compatible_change_is_not(name: str) -> None:
    assert breaks(EVENT, changed(COMPATIBLE[name])) == []


@given(st.lists(st.sampled_from(sorted(COMPATIBLE)), unique=True), st.sampled_from(sorted(BREAKING)))
def test_no_number_of_compatible_changes_hides_a_breaking_one(names: list[str], breaking: str) -> None:
    proposed = copy.deepcopy(EVENT)
    BREAKING[breaking][0](proposed)
    for name in names:
        try:
            COMPATIBLE[name](proposed)
        except (KeyError, ValueError):
            continue  # the breaking change took away what this one changes
    undone = {  # a compatible change that is the very opposite of the breaking one, on the same words
        ("a lower upper bound", "a higher upper bound"), ("a lower upper bound", "no bound"),
        ("shorter text", "longer text"), ("another pattern", "no pattern"),
    }  # fmt: skip
    if not any((breaking, name) in undone for name in names):
        assert breaks(EVENT, proposed)


KINDS_OF_FIELD: dict[str, tuple[Any, list[Any]]] = {
    "a whole number": (int, [0, -3, 10**12]),
    "a number": (float, [0.5, 3]),
    "a bounded number": (Annotated[int, Field(ge=1, le=10)], [1, 10]),
    "a wider one": (Annotated[int, Field(ge=0, le=11)], [0, 11]),
    "text": (str, ["", "a" * 200]),
    "short text": (Annotated[str, Field(max_length=3)], ["abc"]),
    "one of two": (Literal["a", "b"], ["a", "b"]),
    "one of three": (Literal["a", "b", "c"], ["c"]),
    "a number or nothing": (int | None, [None, 5]),
    "words": (list[str], [[], ["a"]]),
    "numbers": (list[int], [[1, 2]]),
    "a few words": (Annotated[list[str], Field(max_length=1)], [["a"]]),
    "numbers by name": (dict[str, int], [{}, {"a": 1}]),
    "a pair": (tuple[int, str], [[1, "a"]]),
    "anything": (Any, [None, 1, "a", [1], {"a": 1}]),
}


@pytest.mark.parametrize("was", KINDS_OF_FIELD)
@pytest.mark.parametrize("becomes", KINDS_OF_FIELD)
def test_what_the_check_lets_pass_reads_every_old_record(was: str, becomes: str) -> None:
    old: type[BaseModel] = create_model("Old", field=(KINDS_OF_FIELD[was][0], ...))
    new: type[BaseModel] = create_model("Old", field=(KINDS_OF_FIELD[becomes][0], ...))
    lost = []
    for value in KINDS_OF_FIELD[was][1]:
        text = json.dumps({"field": value})
        old.model_validate_json(text)
        try:
            new.model_validate_json(text, strict=True)
        except ValidationError:
            lost.append(value)
    found = breaks(old.model_json_schema(), new.model_json_schema())
    assert not (lost and not found), f"{lost} would be lost, and nothing was said"
    if was == becomes:
        assert found == []


def test_a_record_that_is_one_of_several_loses_none_of_them() -> None:
    schema = PROFILE_RECORD.json_schema()
    assert breaks(schema, schema) == []
    fewer = copy.deepcopy(schema)
    fewer["oneOf"] = [one for one in schema["oneOf"] if not one["$ref"].endswith("Forgotten")]
    assert [str(found) for found in breaks(schema, fewer)] == ["the record: no longer accepts Forgotten"]
    nested = changed(lambda s: s["$defs"]["AnimeEntry"]["properties"]["mal_id"].update(minimum=2), schema)
    assert [found.where for found in breaks(schema, nested)] == ["entries[].mal_id"]


def test_a_definition_that_refers_to_itself_is_compared() -> None:
    tree = {"$ref": "#/$defs/T", "$defs": {"T": {"type": "object", "properties": {"t": {"$ref": "#/$defs/T"}}}}}
    assert breaks(tree, tree) == []
    assert breaks(tree, TypeAdapter(int).json_schema())


TOPIC_SCHEMAS = {path.parent.name: path for path in (schemas.PUBLISHED / "topics").rglob("*.json")}


def holders(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object in a schema that has fields, nested ones included."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for part in schema.values():
            yield from holders(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from holders(part)


def mutations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """(what was done, the schema after it, whether it breaks) for each field of each object of a schema."""
    for at, holder in enumerate(holders(schema)):
        for name, told in holder["properties"].items():
            optional = name not in holder.get("required", [])
            for what, change, breaking in (
                ("gone", lambda h, n: h["properties"].pop(n), True),
                ("required", lambda h, n: h.setdefault("required", []).append(n), optional),
                ("anything", lambda h, n: h["properties"].update({n: _only_default(h["properties"][n])}), False),
                ("null only", lambda h, n: h["properties"].update({n: {"type": "null"}}), told.get("type") != "null"),
                ("beside a new one", lambda h, n: h["properties"].update({f"{n}_too": {"type": "string"}}), False),
            ):
                proposed = copy.deepcopy(schema)
                change(list(holders(proposed))[at], name)
                yield f"{at} {name} {what}", proposed, breaking


def _only_default(told: dict[str, Any]) -> dict[str, Any]:
    return {word: value for word, value in told.items() if word == "default"}


@pytest.mark.parametrize("topic", sorted(TOPIC_SCHEMAS))
def test_every_field_of_everything_published_is_guarded(topic: str) -> None:
    schema = json.loads(TOPIC_SCHEMAS[topic].read_text())
    wrong = [what for what, proposed, breaking in mutations(schema) if bool(breaks(schema, proposed)) != breaking]
    assert wrong == []
    assert set(TOPIC_SCHEMAS) == set(schemas.PUBLISHED_TOPICS)


# ---- what is published ----------------------------------------------------------------------------------------------


def test_what_is_published_still_holds() -> None:
    broken = schemas.broken_promises(schemas.PUBLISHED)
    assert not broken, "\n".join([*broken, schemas.REMEDY])


def test_what_is_published_has_followed_every_addition() -> None:
    stale = schemas.stale_files(schemas.PUBLISHED, schemas.proposed())
    assert not stale, f"`animusic schemas` adds them: {sorted(map(str, stale))}"


def test_a_published_file_that_nothing_reads_any_more_is_a_broken_promise(tmp_path) -> None:
    path = tmp_path / "topics" / "animusic.feedback.v1" / "0.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    (said,) = schemas.broken_promises(tmp_path)
    assert said == "topics/animusic.feedback.v1/0.json: is published, but no code reads it any more"


def test_a_kind_that_means_something_else_is_a_broken_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    meanings = json.loads((schemas.PUBLISHED / schemas.MEANINGS).read_text())
    assert schemas.changed_meanings(meanings) == []
    monkeypatch.setattr(fold, "_SETTLING", frozenset({"ended", "skipped"}))
    found = schemas.changed_meanings(meanings)
    assert {said.split()[1] for said in found} == {"liked"}
    assert len(found) == sum(record["kind"] == "liked" for record in specimens())


def test_a_breaking_change_of_the_contract_stops_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    now = schemas.proposed()
    name = "topics/animusic.feedback.v1/1.json"
    schema = json.loads(now[name])
    schema["properties"].pop("rate")
    monkeypatch.setattr(schemas, "proposed", lambda: {**now, name: json.dumps(schema)})
    with pytest.raises(RuntimeError) as refused:
        schemas.command(check_compatible=True)
    assert f"{name}: rate: would not be read any more" in str(refused.value)
    assert "new version with an upcaster" in str(refused.value)
