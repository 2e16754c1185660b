"""The error contract: every way in which the gateway refuses, with its status and code.

    400 malformed            the body or a parameter is not what the route takes, or nothing of a list can be read
    400 bad_receipt          `not_before` is malformed, forged, or another user's
    400 bad_host             no Host header that could be read
    401 unauthorised         no bearer token, or one that is malformed, forged or expired
    403 wrong_origin         another web site is asking, or an extension that may not
    404 not_found            no such route, song, playlist or page
    405 wrong_method
    413 too_large            the body has more bytes, or more events, than the route takes
    415 not_json             the body is not declared as application/json
    421 wrong_host           the Host header names somebody else (DNS rebinding)
    429 too_many             one user posts, or one address opens sessions, too fast; Retry-After
    503 log_unavailable      the log did not acknowledge in time; Retry-After. What was sent may or may not be in it:
                             send it again with the same event ids
    503 recommender_unavailable  it did not answer in time or not sensibly; Retry-After
    500 failed               a mistake of ours

A body is always `contracts.http.Problem`.
"""

import math

from starlette.responses import Response

from contracts.http import Problem


class Refused(Exception):
    """A request is answered with an error. `retry_after` is in seconds."""

    def __init__(self, status: int, error: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.message = message
        self.retry_after = retry_after

    def response(self) -> Response:
        """The answer, with the headers that its status asks for."""
        headers = {}
        if self.retry_after is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return problem(self.status, self.error, self.message, headers)


def problem(status: int, error: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error answer whose body is a Problem."""
    body = Problem(error=error, message=message).model_dump_json()
    return Response(body, status, headers, "application/json")


def failure() -> Response:
    """500: what went wrong is in the log and not in the answer."""
    return problem(500, "failed", "this is a mistake of ours; the server's log says what went wrong")


def log_unavailable(detail: str) -> Refused:
    """The log cannot take, or did not acknowledge, a write."""
    message = f"the log did not take it ({detail}); send the same again, with the same event ids, after Retry-After"
    return Refused(503, "log_unavailable", message, retry_after=1)


def recommender_unavailable(detail: str) -> Refused:
    """The recommender gave no usable answer."""
    message = f"the recommender {detail}; ask again after Retry-After"
    return Refused(503, "recommender_unavailable", message, retry_after=1)
