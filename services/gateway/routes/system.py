"""The page, health, readiness and metrics."""

import asyncio
from pathlib import Path
from typing import Final

import orjson
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from services.common.process_identity import ProcessIdentity
from services.gateway.page_policy import content_policy
from services.gateway.parts import Parts
from services.gateway.problems import problem

PAGE: Final = Path(__file__).parents[1] / "page" / "index.html"


def router(parts: Parts, page: Path = PAGE) -> APIRouter:
    """`GET /`, `/healthz`, `/readyz`, `/metrics`."""
    routes = APIRouter(tags=["system"])

    @routes.get("/", summary="The page", response_class=Response)
    async def index() -> Response:
        try:
            html = page.read_bytes()  # noqa: ASYNC240 - 20 KB from the page cache; a thread would cost more
        except FileNotFoundError:
            return problem(404, "not_found", f"the page is missing from this installation: there is no {page.name}")
        headers = {"content-security-policy": content_policy(html)}
        return Response(html, media_type="text/html; charset=utf-8", headers=headers)

    @routes.get("/healthz", summary="The process runs", response_class=Response)
    async def healthz() -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    @routes.get("/readyz", summary="A playlist can be served and an event logged", response_class=Response)
    async def readyz() -> Response:
        found = await readiness(parts)
        status = 200 if found["ready"] else 503
        return Response(orjson.dumps(found), status, media_type="application/json")

    @routes.get("/metrics", summary="Prometheus", response_class=Response)
    async def metrics() -> Response:
        parts.log.trouble()
        text = await asyncio.to_thread(generate_latest, parts.metrics.registry)
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

    return routes


async def readiness(parts: Parts) -> dict[str, object]:
    """Who answers, and each part by name with what is wrong with it; `ready` when nothing is."""
    named: dict[str, str | None] = {"log": parts.log.trouble()}
    for url, trouble in (await parts.recommender.trouble()).items():
        named[f"recommender {url}"] = trouble
    states = {name: {"ok": trouble is None, "detail": trouble} for name, trouble in named.items()}
    said = ProcessIdentity.of("gateway", parts.settings).said()
    return {"ready": all(trouble is None for trouble in named.values()), **said, "parts": states}
