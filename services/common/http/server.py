"""The HTTP server of every service: uvicorn on a socket of its own, in the loop of the service."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

from services.common.http.listening import listen


class HttpServer(uvicorn.Server):
    """Listens from `start` on. Signals are left to the service: see `stop_on_signals`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        stop_seconds: int,
        keep_alive_seconds: int = 5,
        lifespan: Literal["on", "off"] = "off",
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        """`stop_seconds`: how long requests may take after `stop`; `on_stop` is called before, to end streams."""
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan=lifespan,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=keep_alive_seconds,
            timeout_graceful_shutdown=stop_seconds,
        )
        super().__init__(config)
        self._on_stop = on_stop
        self._serving: asyncio.Task[None] | None = None

    def start(self, host: str, port: int, setting: str) -> int:
        """Listen, and return the port (the system chooses one for 0). `setting`: the variable that chooses it.

        Raises CannotListen when the port cannot be had.
        """
        listening = listen(host, port, setting)
        chosen: int = listening.getsockname()[1]
        self._serving = asyncio.create_task(self.serve([listening]))
        return chosen

    @property
    def serving(self) -> "asyncio.Task[None]":
        """Ends when the server has stopped. Raises RuntimeError before `start`."""
        if self._serving is None:
            raise RuntimeError("the server was not started")
        return self._serving

    def stop(self) -> None:
        """Accept nothing more, and finish what is under way; `serving` then ends."""
        if self._on_stop is not None:
            self._on_stop()
        self.should_exit = True

    async def close(self) -> None:
        """Stop, and wait for the end; nothing to do where it was not started."""
        self.stop()
        if self._serving is not None:
            await self._serving

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn would raise the signal again when it has stopped, before the service could close its parts."""
        yield


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[], object]) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop` while the block runs."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
