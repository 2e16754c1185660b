"""The error contract, through the whole app: every refusal that needs no store."""

import json
from typing import Any
from uuid import UUID

import httpx
import pytest

from contracts.http import MAX_BODY_BYTES, Problem
from contracts.tokens import Receipt, Signer
from services.common.settings import GatewaySettings, Settings
from services.gateway.app import build_app
from services.gateway.bodies import LIST_BODY_BYTES, SMALL_BODY_BYTES

JSON = {"Content-Type": "application/json"}
BIG = b'{"events": [' + b" " * MAX_BODY_BYTES + b"]}"


def refused(answer: httpx.Response, status: int, error: str) -> str:
    assert answer.headers["content-type"] == "application/json"
    problem = Problem.model_validate_json(answer.content)
    assert (answer.status_code, problem.error) == (status, error)
    return problem.message


def _filled(path: str, operation: dict[str, Any]) -> str:
    """The path as a client asks for it: nothing in it, and no query that it must have, is left open."""
    query = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query" and p.get("required")]
    path = path.replace("{song_id}", "a").replace("{playlist_id}", str(UUID(int=1)))
    return path + ("?" + "&".join(f"{name}=x" for name in query) if query else "")


# Every operation that the app has: a route that is added is asked, too.
OPERATIONS = [
    (method.upper(), _filled(path, operation), operation)
    for path, item in build_app(Settings(secret="s" * 32)).openapi()["paths"].items()
    for method, operation in item.items()
]
OF_A_USER = [(method, path) for method, path, _ in OPERATIONS if path.startswith("/v1/") and path != "/v1/sessions"]
WITH_A_BODY = [(method, path) for method, path, _ in OPERATIONS if method not in ("GET", "HEAD")]


def test_the_operations_are_those_of_the_whole_app() -> None:
    assert len(OF_A_USER) >= 9
    assert {("POST", "/v1/sessions"), ("PUT", "/v1/profile/anime"), ("POST", "/feedback")} <= set(WITH_A_BODY)
    assert not [path for _, path, _ in OPERATIONS if "{" in path]
    said = {(method, path) for method, path, operation in OPERATIONS if operation.get("security")}
    assert said == set(OF_A_USER)


@pytest.mark.parametrize(("method", "path"), OF_A_USER)
async def test_every_route_of_a_user_wants_a_bearer(client: httpx.AsyncClient, method: str, path: str) -> None:
    refused(await client.request(method, path, json={}), 401, "unauthorised")
    refused(await client.request(method, path, headers={"Authorization": "Bearer x"}), 401, "unauthorised")


@pytest.mark.parametrize(
    ("body", "status", "error", "says"),
    [
        pytest.param(b"{", 400, "malformed", "not JSON", id="half"),
        pytest.param(b'{"events": [{"watch_seconds": NaN]}', 400, "malformed", "not JSON", id="half, with a NaN"),
        pytest.param(b"[]", 400, "malformed", "valid dictionary", id="a list"),
        pytest.param(b"{}", 400, "malformed", "events", id="no events"),
        pytest.param(b'{"events": []}', 400, "malformed", "events", id="no event"),
        pytest.param(b'{"events": {}}', 400, "malformed", "events", id="an object of events"),
        pytest.param(b'{"events": [1], "user_id": "u2"}', 400, "malformed", "user_id", id="a user in the body"),
        pytest.param(json.dumps({"events": [0] * 501}).encode(), 413, "too_large", "500", id="501 events"),
        pytest.param(BIG, 413, "too_large", "262,144", id="too many bytes"),
    ],
)
async def test_posts_that_are_rejected_whole(
    client: httpx.AsyncClient, bearer: dict[str, str], *, body: bytes, status: int, error: str, says: str
) -> None:
    answer = await client.post("/v1/events", content=body, headers={**bearer, **JSON})
    assert says in refused(answer, status, error)


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
@pytest.mark.parametrize(("method", "path"), WITH_A_BODY)
async def test_only_json_is_accepted(
    client: httpx.AsyncClient, bearer: dict[str, str], method: str, path: str, kind: str | None
) -> None:
    headers = bearer if kind is None else {**bearer, "Content-Type": kind}
    refused(await client.request(method, path, content=b"{}", headers=headers), 415, "not_json")


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/v1/events", MAX_BODY_BYTES),
        ("POST", "/v1/sessions", SMALL_BODY_BYTES),
        ("POST", "/v1/playlists", SMALL_BODY_BYTES),
        ("PUT", "/v1/profile/anime", LIST_BODY_BYTES),
        ("POST", "/upload_anilist_profile", LIST_BODY_BYTES),
    ],
)
async def test_a_body_is_not_read_past_its_limit(
    client: httpx.AsyncClient, bearer: dict[str, str], method: str, path: str, limit: int
) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 16 * limit:
            sent += 4096
            yield b" " * 4096

    answer = await client.request(method, path, content=endless(), headers={**bearer, **JSON})
    refused(answer, 413, "too_large")
    assert sent <= limit + 2 * 4096
    declared = await client.request(method, path, content=b" " * (limit + 1), headers={**bearer, **JSON})
    refused(declared, 413, "too_large")


async def test_a_content_type_with_a_charset_is_json(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (await client.post("/v1/sessions", content=b'{"guest": true}', headers=headers)).status_code == 201


@pytest.mark.parametrize("body", [{}, {"guest": False}, {"guest": True, "user_id": "u"}, {"guest": "yes"}, []])
async def test_a_session_is_for_a_guest(client: httpx.AsyncClient, body: object) -> None:
    refused(await client.post("/v1/sessions", json=body), 400, "malformed")


async def test_the_fourth_post_of_a_burst_of_three_is_429(settings: Settings, bearer: dict[str, str]) -> None:
    app = build_app(settings.model_copy(update={"gateway": GatewaySettings(posts_per_second=1, posts_burst=3)}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        for _ in range(3):
            refused(await client.post("/v1/events", json={}, headers=bearer), 400, "malformed")
        answer = await client.post("/v1/events", json={}, headers=bearer)
    refused(answer, 429, "too_many")
    assert answer.headers["retry-after"] == "1"


async def test_a_body_that_is_refused_counts_and_the_rate_limit_comes_first(
    settings: Settings, bearer: dict[str, str]
) -> None:
    app = build_app(settings.model_copy(update={"gateway": GatewaySettings(posts_per_second=1, posts_burst=3)}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        refused(await client.post("/v1/events", content=b"{}", headers=bearer), 415, "not_json")
        refused(await client.post("/v1/events", content=b"{", headers={**bearer, **JSON}), 400, "malformed")
        refused(await client.post("/v1/events", content=BIG, headers={**bearer, **JSON}), 413, "too_large")
        refused(await client.post("/v1/events", content=BIG, headers={**bearer, **JSON}), 429, "too_many")


OTHERS = Signer(b"x" * 32).receipt("u", Receipt("ab" * 16, 0, 0))


@pytest.mark.parametrize("path", ["/v1/playlists", "/v1/playlists/00000000-0000-0000-0000-000000000001/rest"])
@pytest.mark.parametrize(
    ("receipt", "says"),
    [("", "signed"), ("x", "not a receipt"), ("{}", "signed"), (OTHERS, "signed"), ("foreign", "another user's")],
)
async def test_an_invalid_receipt_is_400_with_the_reason(
    client: httpx.AsyncClient, bearer: dict[str, str], path: str, receipt: str, says: str
) -> None:
    if receipt == "foreign":
        receipt = Signer(b"s" * 32).receipt("somebody else", Receipt("ab" * 16, 0, 0))
    body = {"not_before": receipt, **({"from_slot": 1} if path.endswith("rest") else {})}
    assert says in refused(await client.post(path, json=body, headers=bearer), 400, "bad_receipt")


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("POST", "/v1/playlists/1/rest", {"from_slot": 1}, "playlist_id"),
        ("GET", "/v1/playlists/1", None, "playlist_id"),
        ("POST", "/v1/playlists/00000000-0000-0000-0000-000000000001/rest", {}, "from_slot"),
        ("POST", "/v1/playlists/00000000-0000-0000-0000-000000000001/rest", {"from_slot": -1}, "from_slot"),
        ("POST", "/v1/playlists", {"user_id": "u2"}, "user_id"),
        ("PUT", "/v1/profile/anime", {"entries": [{"mal_id": 0}, {"mal_id": "x"}]}, "entries: none of the 2 entries"),
        ("PUT", "/v1/profile/anime", {"entries": None}, "entries"),
        ("PUT", "/v1/profile/anime", {"entries": [], "user_id": "u2"}, "user_id"),
        ("GET", "/v1/anime", None, "query"),
        ("GET", "/v1/anime?query=" + "x" * 201, None, "query"),
        ("GET", "/v1/anime?query=x&limit=0", None, "limit"),
        ("GET", "/playlist", None, "anilist_username"),
        ("POST", "/upload_anilist_profile", {"anilist_username": "", "mal_ids": []}, "anilist_username"),
        ("POST", "/upload_anilist_profile", {"anilist_username": "new", "mal_ids": [0]}, "mal_ids: none of the"),
        ("POST", "/feedback", {"anilist_username": "new"}, "song_id"),
    ],
)
async def test_malformed_requests_say_where(
    client: httpx.AsyncClient, bearer: dict[str, str], *, method: str, path: str, body: object, says: str
) -> None:
    assert says in refused(await client.request(method, path, json=body, headers=bearer), 400, "malformed")


@pytest.mark.parametrize(("path", "method"), [("/playlist?anilist_username=x", "GET"), ("/feedback", "POST")])
async def test_the_papers_endpoints_where_they_are_off_name_the_setting(
    settings: Settings, path: str, method: str
) -> None:
    app = build_app(settings.model_copy(update={"gateway": GatewaySettings(paper_endpoints=False)}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        message = refused(await client.request(method, path, json={}), 404, "not_found")
    assert "ANIMUSIC_GATEWAY__PAPER_ENDPOINTS" in message


async def test_the_404_says_where_to_look(client: httpx.AsyncClient) -> None:
    assert "/docs" in refused(await client.get("/v2"), 404, "not_found")
    wrong = await client.delete("/v1/events")
    assert "/docs" in refused(wrong, 405, "wrong_method")
    assert wrong.headers["allow"] == "POST"


async def test_an_unexpected_exception_is_a_problem_with_the_security_headers(settings: Settings) -> None:
    app = build_app(settings)

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError("secret detail")

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answer = await client.get("/broken")
    assert "secret" not in refused(answer, 500, "failed")
    assert answer.headers["x-frame-options"] == "DENY"


async def test_before_its_parts_have_started_it_is_alive_and_not_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}


def test_each_operation_is_summed_up_in_words() -> None:
    of_v1 = [operation for _, path, operation in OPERATIONS if path.startswith("/v1/")]
    assert "Post what a listener did" in {operation["summary"] for operation in of_v1}
    # FastAPI's own summary is the function's name, which begins the operation's id.
    named = [
        each["summary"] for each in of_v1 if each["operationId"].startswith(each["summary"].lower().replace(" ", "_"))
    ]
    assert named == []
