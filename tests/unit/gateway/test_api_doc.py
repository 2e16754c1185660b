"""docs/api.md: every example is what the contracts say, and every route is there."""

import json
import re
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from contracts import http
from contracts.events import ClientEvent
from services.common.settings import REPO_ROOT

TEXT = (REPO_ROOT / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(
    r"^```json (?P<part>body|answer) ?(?P<model>\S*)\n(?P<json>.*?)^```", TEXT, re.DOTALL | re.MULTILINE
)


@pytest.mark.parametrize(("part", "model", "text"), EXAMPLES)
def test_an_example_is_what_the_contract_says(part: str, model: str, text: str) -> None:
    value = json.loads(text)
    if model == "ClientEvent[]":
        http.EventsBody.model_validate(value)
        good = [event for event in value["events"] if event["kind"] != "skipped"]
        assert [ClientEvent.model_validate(event) for event in good]
    elif model:
        contract: type[BaseModel] = getattr(http, model)
        contract.model_validate(value)
        assert _unknown(value, contract) == set()


def _unknown(value: dict[str, Any], model: type[BaseModel]) -> set[str]:
    return set(value) - set(model.model_fields)


async def test_every_route_is_described(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    missing = [
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method in methods
        if not re.search(rf"{method.upper()} {re.escape(path)}(?![\w/])", TEXT)
    ]
    assert missing == []


def test_every_code_of_an_error_is_described() -> None:
    text = (REPO_ROOT / "services" / "gateway" / "problems.py").read_text(encoding="utf-8")
    codes = set(re.findall(r"^    \d{3} (\w+)", text, re.MULTILINE)) - {"failed"}
    assert len(codes) > 10
    assert {code for code in codes if f"`{code}`" not in TEXT} == set()


def test_every_warning_code_is_described() -> None:
    gateway = REPO_ROOT / "services" / "gateway"
    texts = [(gateway / f"{name}.py").read_text(encoding="utf-8") for name in ("lists", "reading", "stamp")]
    codes = set(re.findall(r'"([a-z][a-z_0-9]+): ', "\n".join(texts)))
    assert {"dropped", "no_mal_id", "clock_ahead", "impossible_time", "before_token", "token_refused"} <= codes
    assert {code for code in codes if f"`{code}`" not in TEXT} == set()
