"""What /openapi.json promises."""

import re
from typing import Any

import httpx
import jsonschema
import pytest

from services.gateway.routes.pages import script_hashes

ROUTES = {
    ("post", "/v1/sessions"), ("post", "/v1/events"), ("put", "/v1/profile/anime"), ("get", "/v1/me/profile"),
    ("get", "/v1/me/live"), ("get", "/v1/songs/{song_id}"), ("get", "/v1/anime"), ("post", "/v1/playlists"),
    ("post", "/v1/playlists/{playlist_id}/rest"), ("get", "/v1/playlists/{playlist_id}"), ("get", "/"),
    ("get", "/healthz"), ("get", "/readyz"), ("get", "/metrics"), ("post", "/upload_anilist_profile"),
    ("post", "/feedback"), ("get", "/playlist"),
}  # fmt: skip


async def schema_of(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/openapi.json")).json()
    return found


async def test_every_route_is_there_and_nothing_else(client: httpx.AsyncClient) -> None:
    paths = (await schema_of(client))["paths"]
    assert {(method, path) for path, methods in paths.items() for method in methods} == ROUTES


async def test_every_body_has_an_example_that_its_schema_takes(client: httpx.AsyncClient) -> None:
    schema = await schema_of(client)
    checked = 0
    for methods in schema["paths"].values():
        for operation in methods.values():
            if "requestBody" in operation:
                body = operation["requestBody"]["content"]["application/json"]
                [example] = body["schema"]["examples"]
                jsonschema.validate(example, {**body["schema"], "components": schema["components"]})
                checked += 1
    assert checked == 7


async def test_every_reference_leads_somewhere(client: httpx.AsyncClient) -> None:
    schema = await schema_of(client)
    names = set(schema["components"]["schemas"])
    references = set(_references(schema))
    assert references
    assert {reference.rpartition("/")[2] for reference in references} <= names
    assert "HTTPValidationError" not in names


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [ref for value in node.values() for ref in _references(value)]
    return [ref for value in node for ref in _references(value)] if isinstance(node, list) else []


@pytest.mark.parametrize("path", ["/v1/events", "/v1/playlists"])
async def test_a_users_routes_name_the_bearer(client: httpx.AsyncClient, path: str) -> None:
    schema = await schema_of(client)
    assert schema["paths"][path]["post"]["security"] == [{"bearer": []}]
    assert schema["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


async def test_the_docs_need_nothing_but_this_server(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    loaded = re.findall(r"""(?:src|href)=["']([^"']*)["']|url: '([^']*)'""", page.text)
    paths = [first or second for first, second in loaded]
    assert len(paths) == 4
    for path in paths:
        assert path.startswith("/")
        answer = await client.get(path)
        assert (answer.status_code, len(answer.content) > 500) == (200, True), path
    assert not re.findall(r"https?://", page.text)
    assert '"validatorUrl": null' in page.text


async def test_the_docs_may_load_from_this_server_alone(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    policy = page.headers["content-security-policy"]
    [script] = script_hashes(page.content)
    assert f"script-src 'self' {script};" in policy
    assert "http" not in policy
    assert "'unsafe-eval'" not in policy


async def test_metrics_count_by_route_and_outcome(client: httpx.AsyncClient) -> None:
    before = await _sessions_counted(client)
    await client.post("/v1/sessions", json={"guest": True})
    assert await _sessions_counted(client) == before + 1


async def _sessions_counted(client: httpx.AsyncClient) -> float:
    name = 'animusic_gateway_requests_seconds_count{method="POST",route="/v1/sessions",status="201"} '
    lines = (await client.get("/metrics")).text.splitlines()
    return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)
