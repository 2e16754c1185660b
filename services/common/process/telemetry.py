"""Logging, the same in every process: one line per entry on standard error."""

import logging
import sys

_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_CHATTY = ("aiokafka", "httpx", "httpcore", "uvicorn.access")


def configure_logging(level: str) -> None:
    """Send the logs of this process to standard error. Called once, by a command, never at import."""
    logging.basicConfig(level=level, format=_FORMAT, stream=sys.stderr, force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
