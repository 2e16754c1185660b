"""Finds changes of a JSON Schema that lose records that were written under it. Pure.

A change is compatible if the new schema accepts everything that the published one accepted, reads every field of it,
and gives absent fields the same meaning. The check knows the JSON Schema keywords that pydantic writes. An unknown
keyword must not change.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

Schema = Mapping[str, Any]
_ABSENT: Final = object()
# Not compared: descriptions, and keywords that are compared with the schema they belong to.
_PLAIN: Final = frozenset({"$schema", "$id", "$defs", "$ref", "title", "description", "examples", "discriminator"})
_COMPARED: Final = frozenset(
    {
        "type", "const", "enum", "anyOf", "oneOf", "default", "properties", "required", "additionalProperties", "items",
        "prefixItems", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "minLength", "maxLength",
        "minItems", "maxItems", "minProperties", "maxProperties",
    }
)  # fmt: skip
_COUNTS: Final = (("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties"))


class Break(NamedTuple):
    """One change that would lose records. `where` is a path of fields, empty for the record itself."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where or 'the record'}: {self.what}"


def breaks(published: Schema, proposed: Schema) -> list[Break]:
    """Every change from `published` to `proposed` that loses records of the former; empty when it is compatible."""
    return list(_Comparison(published.get("$defs", {}), proposed.get("$defs", {})).compare(published, proposed, ""))


class _Comparison:
    """One pair of schemas, with their definitions. A definition that refers to itself is compared once."""

    def __init__(self, old_defs: Schema, new_defs: Schema) -> None:
        self._old_defs = old_defs
        self._new_defs = new_defs
        self._seen: set[tuple[str, str]] = set()

    def compare(self, old: Schema, new: Schema, where: str) -> Iterator[Break]:
        """What `new` loses of `old`."""
        references = (old.get("$ref", ""), new.get("$ref", ""))
        if all(references):
            if references in self._seen:
                return
            self._seen.add(references)
        old, new = _resolved(old, self._old_defs), _resolved(new, self._new_defs)
        olds, news = _alternatives(old, self._old_defs), _alternatives(new, self._new_defs)
        alone = len(olds) == len(news) == 1
        for one in olds:
            yield from self._one_of(one, news, where, alone=alone)

    def _one_of(self, old: Schema, news: list[Schema], where: str, *, alone: bool) -> Iterator[Break]:
        """`old` must fit into one of `news`; otherwise the breaks of the nearest alternative are reported.

        `alone`: each side has one alternative, so the two are compared even if their types differ.
        """
        tried = [(new, list(self._single(old, new, where))) for new in news]
        if any(not found for _, found in tried):
            return
        alike = [found for new, found in tried if alone or _sort(new) == _sort(old)]
        if alike:
            yield from min(alike, key=len)
        else:
            yield Break(where, f"no longer accepts {_described(old)}")

    def _single(self, old: Schema, new: Schema, where: str) -> Iterator[Break]:
        yield from _types(old, new, where)
        yield from _values(old, new, where)
        yield from _bounds(old, new, where)
        yield from self._fields(old, new, where)
        yield from self._others(old, new, where)
        yield from self._elements(old, new, where)
        for word in sorted((old.keys() | new.keys()) - _PLAIN - _COMPARED):
            if word in new and old.get(word, _ABSENT) != new[word]:
                yield Break(where, f"{word} was {old.get(word, 'free')!r} and would be {new[word]!r}")

    def _fields(self, old: Schema, new: Schema, where: str) -> Iterator[Break]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name, schema in before.items():
            at = f"{where}.{name}" if where else name
            if "properties" not in new:
                break  # the whole object is kept
            if name not in after:
                yield Break(at, "would not be read any more: records lose this field")
                continue
            yield from self.compare(schema, after[name], at)
            if name not in old.get("required", ()) and name not in new.get("required", ()):
                yield from _defaults(schema, after[name], at)
        for name in new.get("required", ()):
            if name not in old.get("required", ()):
                at = f"{where}.{name}" if where else name
                yield Break(at, "would be required, and published records may lack it")

    def _others(self, old: Schema, new: Schema, where: str) -> Iterator[Break]:
        before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if after is True or before is False or (old.get("type") != "object" and old.get("type") is not None):
            return
        if after is False:
            yield Break(where, "would reject unknown fields")
        elif before is True:
            yield Break(where, "would limit the values of unknown fields")
        else:
            yield from self.compare(before, after, f"{where}.*" if where else "*")

    def _elements(self, old: Schema, new: Schema, where: str) -> Iterator[Break]:
        before, after = old.get("prefixItems", []), new.get("prefixItems", [])
        for number, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from self.compare(one, other, f"{where}[{number}]")
        if len(before) != len(after):
            yield Break(where, f"had {len(before)} fixed elements and would have {len(after)}")
        if new.get("items", True) is not True:
            if old.get("items", True) is True and "array" in (_type_names(old) or {"array"}):
                yield Break(where, "would limit its elements")
            elif isinstance(old.get("items"), Mapping) and isinstance(new["items"], Mapping):
                yield from self.compare(old["items"], new["items"], f"{where}[]")


def _types(old: Schema, new: Schema, where: str) -> Iterator[Break]:
    before, after = _type_names(old), _type_names(new)
    if after is None:
        return
    if before is None:
        yield Break(where, f"accepted anything and would accept {' or '.join(sorted(after))} only")
        return
    wide = after | {"integer"} if "number" in after else after
    for name in sorted(before - wide):
        yield Break(where, f"was {name} and would be {' or '.join(sorted(after))}")


def _values(old: Schema, new: Schema, where: str) -> Iterator[Break]:
    before, after = _value_list(old), _value_list(new)
    if after is None:
        return
    if before is None:
        yield Break(where, f"would be limited to {_words(after)}")
        return
    gone = [value for value in before if value not in after]
    if gone:
        yield Break(where, f"would no longer accept {_words(gone)}")


def _bounds(old: Schema, new: Schema, where: str) -> Iterator[Break]:
    before, after = _lowest(old), _lowest(new)
    if after is not None and (before is None or before < after):
        yield Break(where, "its lower bound would rise")
    before, after = _highest(old), _highest(new)
    if after is not None and (before is None or before > after):
        yield Break(where, "its upper bound would fall")
    for least, most in _COUNTS:
        if new.get(least, 0) > old.get(least, 0):
            yield Break(where, f"{least} would rise to {new[least]}")
        if most in new and new[most] < old.get(most, float("inf")):
            yield Break(where, f"{most} would fall to {new[most]}")


def _defaults(old: Schema, new: Schema, where: str) -> Iterator[Break]:
    before, after = old.get("default", _ABSENT), new.get("default", _ABSENT)
    if before != after or type(before) is not type(after):
        yield Break(where, f"an absent value meant {_shown(before)} and would mean {_shown(after)}")


def _lowest(schema: Schema) -> tuple[float, bool] | None:
    """The strictest lower bound: its value, and whether the value itself is out. Larger is stricter."""
    found = [(schema[word], out) for word, out in (("minimum", False), ("exclusiveMinimum", True)) if word in schema]
    return max(found, default=None)


def _highest(schema: Schema) -> tuple[float, bool] | None:
    """The strictest upper bound: its value, and whether the value itself is in. Smaller is stricter."""
    found = [
        (schema[word], inside) for word, inside in (("maximum", True), ("exclusiveMaximum", False)) if word in schema
    ]
    return min(found, default=None)


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """The schema that a reference names, with the keywords beside the reference."""
    while "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        schema = {**target, **{word: value for word, value in schema.items() if word != "$ref"}}
    return schema


def _alternatives(schema: Schema, definitions: Schema) -> list[Schema]:
    """The alternatives of which one must match."""
    found = schema.get("anyOf") or schema.get("oneOf")
    if not found:
        return [schema]
    return [each for one in found for each in _alternatives(_resolved(one, definitions), definitions)]


def _type_names(schema: Schema) -> set[str] | None:
    found = schema.get("type")
    if found is None:
        return None
    return {found} if isinstance(found, str) else set(found)


def _value_list(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    found: list[Any] | None = schema.get("enum")
    return found


def _sort(schema: Schema) -> tuple[Any, ...]:
    """The key by which alternatives are matched: their type and their constant fields."""
    constants = {name: field["const"] for name, field in schema.get("properties", {}).items() if "const" in field}
    return tuple(sorted(_type_names(schema) or ())), tuple(sorted(constants.items(), key=repr))


def _described(schema: Schema) -> str:
    values = _value_list(schema)
    return str(schema.get("title") or (_words(values) if values else schema.get("type", "anything")))


def _words(values: list[Any]) -> str:
    return ", ".join(map(repr, values))


def _shown(value: Any) -> str:
    return "nothing" if value is _ABSENT or value is None else repr(value)
