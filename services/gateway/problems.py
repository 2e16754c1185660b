"""The error contract: every error of the gateway, with its status and code.

    400 malformed            the body or a parameter is invalid, or no entry of a list is readable
    400 bad_receipt          `not_before` is malformed, forged, or another user's
    400 bad_host             no valid Host header
    401 unauthorised         no bearer token, or one that is malformed, forged or expired
    403 wrong_origin         the request comes from another web site, or from an extension that is not allowed
    404 not_found            no such route, song, playlist or page
    405 wrong_method
    413 too_large            the body has more bytes, or more events, than the route accepts
    415 not_json             the body is not declared as application/json
    421 wrong_host           the Host header names another server (DNS rebinding)
    429 too_many             one user posts, or one address opens sessions, too fast; Retry-After
    503 log_unavailable      the log did not acknowledge in time; Retry-After. What was sent may or may not be in it:
                             send it again with the same event ids
    503 recommender_unavailable  it did not answer in time, or its answer was invalid; Retry-After
    500 failed               a fault of the gateway; its log has the cause

A body is always `contracts.http.Problem`.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from contracts.events import sentence
from contracts.http import Problem

_WHEN: Final = {
    400: "Malformed; the message says what",
    401: "No bearer token, or an invalid one",
    404: "Not found",
    413: "Too many bytes or events",
    415: "Not declared as JSON",
    429: "Too fast; wait for Retry-After",
    503: "The log or the recommender cannot answer now; wait for Retry-After",
}


class Refused(HTTPException):
    """An error answer. `retry_after` is in seconds."""

    def __init__(self, status: int, error: str, message: str, *, retry_after: float | None = None) -> None:
        headers = {}
        if retry_after is not None:
            headers["retry-after"] = str(max(1, math.ceil(retry_after)))
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        super().__init__(status, message, headers)
        self.status = status
        self.error = error
        self.message = message

    def response(self) -> Response:
        """The answer, with the headers that its status asks for."""
        return problem(self.status, self.error, self.message, self.headers)


def problem(status: int, error: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error answer whose body is a Problem."""
    return Response(Problem(error=error, message=message).model_dump_json(), status, headers, "application/json")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for its documentation. Where `default` is there, FastAPI leaves out its own 422."""
    described: dict[int | str, str] = {status: _WHEN[status] for status in statuses}
    described["default"] = "Any other error"
    return {status: {"model": Problem, "description": why} for status, why in described.items()}


def answer_with_problems(app: FastAPI) -> None:
    """Every error that a route raises, and those of the framework, become Problems."""

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return error.response()

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _invalid(error.errors()[0])

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "wrong_method"}.get(error.status_code, "failed")
        return problem(error.status_code, code, f"{error.detail}; /docs lists every route", error.headers)

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def _invalid(detail: dict[str, Any]) -> Response:
    """The answer for an invalid body or parameter; the first part of `loc` says which of the two."""
    if detail["type"] == "too_long":
        context = detail["ctx"]
        many, most = context["actual_length"], context["max_length"]
        return problem(413, "too_large", f"{many} {detail['loc'][-1]} are too many for one post; send at most {most}")
    return problem(400, "malformed", sentence({**detail, "loc": detail["loc"][1:]}))


def log_unavailable(detail: str) -> Refused:
    """The log did not acknowledge a write."""
    message = (
        f"the log did not acknowledge the write ({detail}); send it again with the same event ids, after Retry-After"
    )
    return Refused(503, "log_unavailable", message, retry_after=1)


def recommender_unavailable(detail: str) -> Refused:
    """The recommender gave no usable answer."""
    message = f"the recommender {detail}; ask again after Retry-After"
    return Refused(503, "recommender_unavailable", message, retry_after=1)
