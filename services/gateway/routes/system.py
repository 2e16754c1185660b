"""Health, readiness and metrics."""

import asyncio

import orjson
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from services.common.process.identity import ProcessIdentity
from services.gateway.parts import GatewayParts, Parts

router = APIRouter(tags=["system"])


@router.get("/healthz", response_class=Response)
async def healthz() -> Response:
    """The process is running."""
    return Response(b'{"status":"ok"}', media_type="application/json")


@router.get("/readyz", response_class=Response)
async def readyz(parts: GatewayParts) -> Response:
    """200 if a playlist can be served and an event logged; else 503, with the reason."""
    found = await readiness(parts)
    return Response(orjson.dumps(found), 200 if found["ready"] else 503, media_type="application/json")


@router.get("/metrics", response_class=Response)
async def metrics(parts: GatewayParts) -> Response:
    """The metrics, for Prometheus."""
    parts.event_log.trouble()
    text = await asyncio.to_thread(generate_latest, parts.metrics.registry)
    return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})


async def readiness(parts: Parts) -> dict[str, object]:
    """The process, and the state of each part; `ready` if all are well."""
    named: dict[str, str | None] = {"log": parts.event_log.trouble()}
    for url, trouble in (await parts.recommender.trouble()).items():
        named[f"recommender {url}"] = trouble
    states = {name: {"ok": trouble is None, "detail": trouble} for name, trouble in named.items()}
    said = ProcessIdentity.of("gateway", parts.settings).as_dict()
    return {"ready": all(trouble is None for trouble in named.values()), **said, "parts": states}
