"""Values of a body that are not believed: found, left out, and said."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from contracts.events import CONTRADICTION

_Model = TypeVar("_Model", bound=BaseModel)


def faults(error: ValidationError) -> dict[str, str]:
    """Field -> what is wrong with it. Of times that contradict each other both are wrong; "" is the whole."""
    found: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        if detail["type"] == CONTRADICTION:
            found |= {"watch_seconds": detail["msg"], "duration_seconds": detail["msg"]}
        else:
            found.setdefault(str(detail["loc"][0]) if detail["loc"] else "", detail["msg"])
    return found


def sentences(found: dict[str, str]) -> list[str]:
    """What is said of values that were dropped, `dropped: fields: why`: one sentence for the fields of one fault."""
    fields: dict[str, list[str]] = {}
    for name, why in found.items():
        fields.setdefault(why, []).append(name)
    return [f"dropped: {', '.join(names)}: {why}" for why, names in fields.items()]


def without_faults(model: type[_Model], value: Any, beside: frozenset[str]) -> tuple[_Model, list[str]]:
    """A parsed value as a model, without those of the fields `beside` that cannot be read, and what is said of it.

    Raises ValidationError when something else is wrong.
    """
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        found = faults(error)
        if not isinstance(value, dict) or not found.keys() <= beside & value.keys():
            raise
    kept = {name: each for name, each in value.items() if name not in found}
    return model.model_validate(kept), sentences(found)
