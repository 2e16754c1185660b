"""Logs and metrics, the same way in every process: one line an entry on standard error, Prometheus on a port."""

import logging
import sys
import threading
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_CHATTY = ("aiokafka", "httpx", "httpcore", "uvicorn.access")


def configure_logging(level: str) -> None:
    """Send the logs of this process to standard error. Called once, by a command, never at import."""
    logging.basicConfig(level=level, format=_FORMAT, stream=sys.stderr, force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def serve_metrics(port: int) -> tuple[WSGIServer, threading.Thread]:
    """Serve this process' metrics on a loopback port (0: any free one); `server.server_port` says which."""
    return start_http_server(port, addr="127.0.0.1")
