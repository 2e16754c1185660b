"""Who may ask: Host, Origin and what the browser says of a request."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from starlette.datastructures import Headers

from services.common.settings import GatewaySettings, Settings
from services.gateway.app import build_app, paper_is_on
from services.gateway.host_origin import HostOriginPolicy, host_name
from services.gateway.problems import Refused

EXTENSION = "chrome-extension://abcdefghijklmnop"
POLICY = HostOriginPolicy("127.0.0.1", ["animusic.example"], ["https://friend.example/", EXTENSION])


def check(method: str = "POST", path: str = "/v1/events", host: str = "127.0.0.1:8080", **headers: str) -> str | None:
    return POLICY.check(method, path, Headers({"host": host, **{k.replace("_", "-"): v for k, v in headers.items()}}))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8080", "localhost", "localhost:1", "LOCALHOST.", "[::1]:8080", "[::1]", "127.8.8.8", "a.localhost:80",
     "animusic.example", "Animusic.Example:443"],
)  # fmt: skip
def test_names_of_this_machine_and_configured_ones_are_answered(host: str) -> None:
    assert check(host=host) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.1.7:8080",
     "xn--localhost", "animusic.example.evil", "0.0.0.0:8080", "notlocalhost"],
)  # fmt: skip
def test_a_name_that_was_rebound_to_us_is_refused(host: str) -> None:
    with pytest.raises(Refused) as refused:
        check(host=host)
    assert (refused.value.status, refused.value.error) == (421, "wrong_host")
    assert "ANIMUSIC_GATEWAY__ALLOWED_HOSTS" in refused.value.message


@pytest.mark.parametrize("host", ["", ":80", "a:b", "[::1", "[::1]x", "localhost:80:80", "user@localhost:x"])
def test_a_host_that_cannot_be_read_is_400(host: str) -> None:
    assert host_name(host) is None
    with pytest.raises(Refused) as refused:
        check(host=host)
    assert refused.value.status == 400


def test_a_star_answers_every_name() -> None:
    assert HostOriginPolicy("0.0.0.0", ["*"], []).check("GET", "/", Headers({"host": "any.example"})) is None


@pytest.mark.parametrize(
    ("origin", "foreign"),
    [
        ("http://127.0.0.1:8080", None),
        ("https://127.0.0.1:8080", None),
        ("https://friend.example", "https://friend.example"),
        ("HTTPS://FRIEND.example", "HTTPS://FRIEND.example"),
        (EXTENSION, EXTENSION),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_our_own_origin_and_configured_ones_may_ask(method: str, origin: str, foreign: str | None) -> None:
    assert check(method, origin=origin) == foreign


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "http://127.0.0.1", "http://127.0.0.1:8081", "http://localhost:8080",
     "chrome-extension://other", "moz-extension://127.0.0.1:8080", "https://friend.example:444",
     "https://friend.example.evil.example", "file://"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_any_other_origin_is_refused_reads_included(method: str, origin: str) -> None:
    with pytest.raises(Refused) as refused:
        check(method, origin=origin)
    assert (refused.value.status, refused.value.error) == (403, "wrong_origin")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("mode", ["no-cors", "navigate"])
def test_a_foreign_page_cannot_make_the_browser_ask_without_an_origin(site: str, mode: str) -> None:
    with pytest.raises(Refused):
        check("GET", "/playlist", sec_fetch_site=site, sec_fetch_mode=mode)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_link_from_anywhere_leads_to_the_page(path: str) -> None:
    assert check("GET", path, sec_fetch_site="cross-site", sec_fetch_mode="navigate") is None


EXTENSIONS = [
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "moz-extension://0c1f2e3d-4b5a-4c6d-8e7f-001122334455",
    "safari-web-extension://0C1F2E3D-4B5A-4C6D-8E7F-001122334455",
]
PAPERS = ["/upload_anilist_profile", "/feedback", "/playlist"]


def asked(
    policy: HostOriginPolicy, path: str, origin: str, host: str = "127.0.0.1:8080", method: str = "POST"
) -> str | None:
    return policy.check(method, path, Headers({"host": host, "origin": origin}))


@pytest.mark.parametrize("own_host", ["127.0.0.1", "::1", "localhost"])
@pytest.mark.parametrize("path", PAPERS)
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_on_loopback_every_extension_may_call_the_papers_endpoints(own_host: str, path: str, extension: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        assert asked(HostOriginPolicy(own_host, [], []), path, extension, method=method) == extension


@pytest.mark.parametrize(
    ("own_host", "path", "origin", "host", "setting"),
    [
        pytest.param("127.0.0.1", "/v1/events", EXTENSIONS[0], "localhost", "ORIGINS", id="another route"),
        pytest.param("127.0.0.1", "/feedback/", EXTENSIONS[0], "localhost", "ORIGINS", id="nearly that route"),
        pytest.param("0.0.0.0", "/feedback", EXTENSIONS[0], "localhost", "EXTENSIONS", id="for all of a network"),
        pytest.param("127.0.0.1", "/feedback", EXTENSIONS[1], "out.example", "EXTENSIONS", id="through a proxy"),
        pytest.param("127.0.0.1", "/feedback", "https://evil.example", "localhost", "ORIGINS", id="a page"),
        pytest.param("127.0.0.1", "/feedback", "null", "localhost", "ORIGINS", id="a page without a name"),
        pytest.param("127.0.0.1", "/feedback", "https://chrome-extension", "localhost", "ORIGINS", id="a page's name"),
        pytest.param("127.0.0.1", "/feedback", "chrome-extension://", "localhost", "ORIGINS", id="no id"),
        pytest.param("127.0.0.1", "/feedback", "moz-extension://a.b:80", "localhost", "ORIGINS", id="a host for an id"),
        pytest.param("127.0.0.1", "/feedback", "evil-extension://abc", "localhost", "ORIGINS", id="another scheme"),
        pytest.param("127.0.0.1", "/feedback", "http://localhost:3000", "localhost", "ORIGINS", id="another port"),
    ],
)
def test_any_other_origin_is_refused_there_too_and_the_setting_is_named(
    own_host: str, path: str, origin: str, host: str, setting: str
) -> None:
    with pytest.raises(Refused) as refused:
        asked(HostOriginPolicy(own_host, ["out.example"], []), path, origin, host)
    assert (refused.value.status, refused.value.error) == (403, "wrong_origin")
    assert setting in refused.value.message


@pytest.mark.parametrize("listed", [EXTENSIONS[0], EXTENSIONS[0].upper() + "/", EXTENSIONS[0].partition("://")[2], "*"])
def test_elsewhere_the_listed_extensions_may_call_the_papers_endpoints(listed: str) -> None:
    policy = HostOriginPolicy("0.0.0.0", ["out.example"], [], [listed])
    assert asked(policy, "/feedback", EXTENSIONS[0], "out.example") == EXTENSIONS[0]
    with pytest.raises(Refused):
        asked(policy, "/v1/events", EXTENSIONS[0], "out.example")
    with pytest.raises(Refused):
        asked(policy, "/feedback", "https://evil.example", "out.example")


def test_a_list_of_extensions_holds_on_loopback_as_well() -> None:
    policy = HostOriginPolicy("127.0.0.1", [], [], [EXTENSIONS[0]])
    assert asked(policy, "/feedback", EXTENSIONS[0]) == EXTENSIONS[0]
    with pytest.raises(Refused):
        asked(policy, "/feedback", EXTENSIONS[1])
    with pytest.raises(Refused):
        asked(HostOriginPolicy("127.0.0.1", [], [], []), "/feedback", EXTENSIONS[0])


def test_an_extension_that_is_an_allowed_origin_may_call_everything() -> None:
    policy = HostOriginPolicy("0.0.0.0", ["out.example"], [EXTENSIONS[1]])
    for path in (*PAPERS, "/v1/events"):
        assert asked(policy, path, EXTENSIONS[1], "out.example") == EXTENSIONS[1]


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("path", PAPERS)
async def test_an_extension_passes_preflight_to_the_papers_endpoints(
    client: httpx.AsyncClient, path: str, private: bool
) -> None:
    extension = EXTENSIONS[0]
    asked = {
        "Origin": extension,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    asked |= {"Access-Control-Request-Private-Network": "true"} if private else {}
    preflight = await client.options(path, headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == extension
    assert "content-type" in preflight.headers["access-control-allow-headers"]
    assert preflight.headers["access-control-allow-methods"] == "GET, POST, PUT"
    assert preflight.headers["vary"] == "Origin"
    assert preflight.headers.get("access-control-allow-private-network") == ("true" if private else None)


async def test_an_extension_may_read_the_answers_of_the_papers_endpoints_errors_included(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/feedback", json={}, headers={"Origin": EXTENSIONS[1]})
    assert (answer.status_code, answer.json()["error"]) == (400, "malformed")
    assert answer.headers["access-control-allow-origin"] == EXTENSIONS[1]
    refused = await client.post("/v1/sessions", json={"guest": True}, headers={"Origin": EXTENSIONS[1]})
    assert (refused.status_code, refused.json()["error"]) == (403, "wrong_origin")


async def test_every_answer_carries_the_security_headers(client: httpx.AsyncClient) -> None:
    for path in ("/", "/healthz", "/nowhere", "/v1/me/profile"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


@pytest_asyncio.fixture
async def friendly(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The app with one foreign origin allowed."""
    gateway = GatewaySettings(allowed_origins=["https://friend.example"])
    app = build_app(settings.model_copy(update={"gateway": gateway}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


async def test_an_allowed_origin_passes_preflight_and_may_read(friendly: httpx.AsyncClient) -> None:
    origin = {"Origin": "https://friend.example"}
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = await friendly.options("/v1/events", headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "https://friend.example"
    assert preflight.headers["access-control-allow-headers"] == "authorization, content-type"
    assert "access-control-allow-credentials" not in preflight.headers
    answer = await friendly.post("/v1/sessions", json={"guest": True}, headers=origin)
    assert answer.status_code == 201
    assert answer.headers["access-control-allow-origin"] == "https://friend.example"
    assert answer.headers["vary"] == "Origin"


async def test_an_origin_that_is_not_allowed_fails_preflight(friendly: httpx.AsyncClient) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = await friendly.options("/v1/events", headers=asked)
    assert answer.status_code == 403
    assert answer.json()["error"] == "wrong_origin"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("host", "asked", "on"),
    [("127.0.0.1", None, True), ("::1", None, True), ("localhost", None, True), ("0.0.0.0", None, False),
     ("192.168.1.2", None, False), ("0.0.0.0", True, True), ("127.0.0.1", False, False)],
)  # fmt: skip
def test_the_papers_endpoints_are_on_only_on_loopback_by_default(
    settings: Settings, host: str, asked: bool | None, on: bool
) -> None:
    gateway = GatewaySettings(paper_endpoints=asked)
    assert paper_is_on(settings.model_copy(update={"host": host, "gateway": gateway})) is on
