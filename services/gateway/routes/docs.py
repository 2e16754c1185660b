"""`/docs`: Swagger UI over /openapi.json. Its files come from an installed package, so the page needs no network."""

from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.page_policy import docs_policy

PATH: Final = "/docs"
# Of fastapi-offline only the files are used.
_ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon.png": "image/png",
}


def router(title: str, openapi_url: str) -> APIRouter:
    """`GET /docs`, and under it the files that it loads."""
    routes = APIRouter(include_in_schema=False)
    html = _html(title, openapi_url)
    folder = files("fastapi_offline") / "static"
    assets = {name: (folder / name).read_bytes() for name in _ASSETS}

    @routes.get(PATH)
    async def page() -> Response:
        headers = {"content-security-policy": docs_policy(html)}
        return Response(html, media_type="text/html; charset=utf-8", headers=headers)

    async def asset(request: Request) -> Response:
        name = request.url.path.rpartition("/")[2]
        return Response(assets[name], media_type=_ASSETS[name])

    for name in _ASSETS:
        routes.add_api_route(f"{PATH}/{name}", asset)
    return routes


def _html(title: str, openapi_url: str) -> bytes:
    page = get_swagger_ui_html(
        openapi_url=openapi_url,
        title=title,
        swagger_js_url=f"{PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{PATH}/swagger-ui.css",
        swagger_favicon_url=f"{PATH}/favicon.png",
        # Off loopback it would ask a server on the internet to check our schema, and show what that says.
        swagger_ui_parameters={"validatorUrl": None},
    )
    return bytes(page.body)
