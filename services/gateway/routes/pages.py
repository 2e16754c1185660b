"""`/` is the page, `/docs` is Swagger UI. Both work without a network; each has a Content-Security-Policy.

The page may run its own inline script (allowed by hash), send requests to this server, and frame YouTube's player.
"""

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from services.gateway.problems import problem

PAGE: Final = Path(__file__).parents[1] / "page" / "index.html"
ASSETS: Final = "/docs/assets"
_SCRIPT: Final = re.compile(rb"<script(?P<attributes>[^>]*)>(?P<text>.*?)</script>", re.DOTALL | re.IGNORECASE)
_FRAMES: Final = "https://www.youtube.com https://www.youtube-nocookie.com"

router = APIRouter(tags=["system"])


@router.get("/", response_class=Response)
async def index() -> Response:
    """The page."""
    try:
        html = PAGE.read_bytes()
    except FileNotFoundError:
        return problem(
            404,
            "not_found",
            f"the page is missing from this installation: {PAGE.name} does not exist; install the package again",
        )
    return _page(html, content_policy(html))


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """Swagger UI over /openapi.json."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=request.app.title,
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS}/favicon.png",
        # Otherwise, off loopback, Swagger UI sends the schema to a validator on the internet.
        swagger_ui_parameters={"validatorUrl": None},
    )
    html = bytes(page.body)
    return _page(html, docs_policy(html))


def docs_assets() -> StaticFiles:
    """Swagger UI's files, from an installed package."""
    return StaticFiles(packages=[("fastapi_offline", "static")])


def _page(html: bytes, policy: str) -> Response:
    return Response(html, media_type="text/html; charset=utf-8", headers={"content-security-policy": policy})


def script_hashes(html: bytes) -> list[str]:
    """The CSP source of each inline script: the hash of its text, byte for byte."""
    texts = [found["text"] for found in _SCRIPT.finditer(html) if b"src=" not in found["attributes"].lower()]
    return [f"'sha256-{b64encode(sha256(_as_parsed(text)).digest()).decode()}'" for text in texts]


def content_policy(html: bytes) -> str:
    """The policy of a self-contained page.

    Inline styles are allowed, because hashes do not cover style attributes.
    """
    scripts = " ".join(script_hashes(html)) or "'none'"
    return _policy(scripts, "'unsafe-inline'", "'self' data: https://i.ytimg.com", f"frame-src {_FRAMES}")


def docs_policy(html: bytes) -> str:
    """The policy of /docs: this server's own files, the script in the page, and requests to this server alone."""
    return _policy(" ".join(["'self'", *script_hashes(html)]), "'self' 'unsafe-inline'", "'self' data:")


def _policy(scripts: str, styles: str, images: str, *more: str) -> str:
    rules = (
        "default-src 'none'",
        f"script-src {scripts}",
        f"style-src {styles}",
        f"img-src {images}",
        "connect-src 'self'",
        *more,
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return "; ".join(rules)


def _as_parsed(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
