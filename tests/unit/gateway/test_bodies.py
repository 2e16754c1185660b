"""Bodies: JSON and nothing else."""

import math

import pytest
from starlette.requests import Request

from services.gateway.bodies import SMALL_BODY_BYTES, parse_json, read_body
from services.gateway.problems import Refused


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="half"),
        pytest.param(b'{"a": NaN', id="half, with a NaN"),
        pytest.param(b'{"a": nan}', id="another spelling of NaN"),
        pytest.param(b"{'a': 1}", id="single quotes"),
        pytest.param(b'{"a": 1} x', id="something behind"),
        pytest.param(b"\xff\xfe", id="no UTF-8"),
        pytest.param(b"[" * 100_000, id="too deep"),
        pytest.param(b"[1e999," + b"[" * 100_000, id="too deep behind an infinity"),
        pytest.param(b"guest=true", id="a form"),
    ],
)
def test_no_json_is_400(raw: bytes) -> None:
    with pytest.raises(Refused) as refused:
        parse_json(raw)
    assert (refused.value.status, refused.value.error) == (400, "malformed")


def test_a_number_over_a_double_is_infinite_and_for_its_field_to_refuse() -> None:
    assert parse_json(b'{"a": 1e999, "b": [-1e999, "\\u00e9"]}') == {"a": math.inf, "b": [-math.inf, "é"]}


def test_a_non_finite_number_is_for_its_field_to_reject() -> None:
    found = parse_json(b'{"a": NaN, "b": [Infinity, -Infinity, 1e999], "c": "NaN"}')
    assert math.isnan(found.pop("a"))
    assert found == {"b": [math.inf, -math.inf, math.inf], "c": "NaN"}


def test_a_whole_number_of_any_length_is_for_its_field_to_refuse() -> None:
    nines = b"9" * 5_000
    assert parse_json(b'{"a": ' + nines + b', "b": [-' + nines + b", 7]}") == {"a": math.inf, "b": [-math.inf, 7]}
    assert parse_json(b"[" + b"9" * 400 + b"]") == [10**400 - 1]


async def test_a_declared_length_of_any_length_is_too_large() -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"9" * 5_000)]
    with pytest.raises(Refused) as refused:
        await read_body(Request({"type": "http", "headers": headers}), SMALL_BODY_BYTES)
    assert refused.value.status == 413
