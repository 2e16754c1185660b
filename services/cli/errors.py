"""Turns an error into a sentence that says what to do, and an exit code."""

from pathlib import Path
from typing import Final, NamedTuple

from aiokafka.errors import KafkaError
from pydantic import ValidationError
from redis.exceptions import RedisError

from services.common.http.listening import CannotListen
from services.common.process.identity import is_alive
from services.common.settings import ENDPOINTS_FILE, asked_data_dir
from services.local.errors import LocalError
from services.local.layout import read_json

# sysexits.h: what a supervisor or a shell script may tell apart.
UNAVAILABLE: Final = 69
CONFIG: Final = 78
FAILED: Final = 1


class Explanation(NamedTuple):
    """`expected` is false for what only a programming mistake can cause."""

    sentence: str
    code: int
    expected: bool = True


def explain(error: Exception) -> Explanation:
    """The sentence and the exit code of an error that a command let through."""
    if isinstance(error, ValidationError):
        return Explanation(_settings_sentence(error), CONFIG)
    if isinstance(error, ConnectionError | TimeoutError | KafkaError | RedisError) or _is_http_connection(error):
        return Explanation(_unreachable(error), UNAVAILABLE)
    if isinstance(error, LocalError | LocalError):
        return Explanation(str(error), FAILED)
    if isinstance(error, CannotListen):
        return Explanation(str(error), CONFIG)
    if isinstance(error, OSError):
        return Explanation(_os_sentence(error), FAILED)
    # These themselves are raised with a sentence; their children (KeyError …) are mistakes of ours.
    if type(error) in (LookupError, ValueError, RuntimeError):
        return Explanation(str(error), FAILED)
    sentence = f"an unexpected {type(error).__name__}: {error}. ANIMUSIC_LOG_LEVEL=DEBUG shows where."
    return Explanation(sentence, FAILED, expected=False)


def _settings_sentence(error: ValidationError) -> str:
    if error.title != "Settings":
        return f"a record could not be read: {error}"
    return (
        "; ".join(
            f"{_variable(detail['loc'])} is not good: {detail['msg']}" for detail in error.errors(include_url=False)
        )
        + ". `animusic settings` lists every setting with its type."
    )


def _variable(location: tuple[int | str, ...]) -> str:
    return "ANIMUSIC_" + "__".join(str(part) for part in location).upper()


def _is_http_connection(error: Exception) -> bool:
    # By name: httpx takes 0.1 s to import and most commands never need it.
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def _unreachable(error: Exception) -> str:
    message = str(error).strip() or type(error).__name__
    data_dir = asked_data_dir()
    if not (data_dir / ENDPOINTS_FILE).exists() or _was_killed(data_dir):
        return (
            f"{message}. No system runs on the data directory {data_dir}: start it with `make run`, go to the "
            "directory where it was started, or set ANIMUSIC_DATA_DIR."
        )
    return f"{message}. The running system noted these addresses: {_noted(data_dir)}. `animusic status` asks each part."


def _was_killed(data_dir: Path) -> bool:
    """Whether a dead supervisor left these addresses. An operator's own file has no status beside it."""
    status = read_json(data_dir / "run" / "status.json")
    return "pid" in status and not is_alive(status["pid"], status.get("started"))


def _noted(data_dir: Path) -> str:
    return ", ".join(
        f"{group} {value}"
        for group, values in read_json(data_dir / ENDPOINTS_FILE).items()
        for value in (values.values() if isinstance(values, dict) else (values,))
    )


def _os_sentence(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
