"""Sets up a process: logging, priority, and no pandas.

pyarrow and scikit-learn import pandas to check the types of values. That takes 1 s of CPU and 50 MB at the start of a
process that has no such value.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_CHATTY = ("aiokafka", "httpx", "httpcore", "uvicorn.access")


def configure_logging(level: str) -> None:
    """Send the logs of this process to standard error. Called once, by a command, never at import."""
    logging.basicConfig(level=level, format=_FORMAT, stream=sys.stderr, force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def without_pandas() -> None:
    """Block pandas in this process from now on."""
    sys.meta_path.insert(0, _WithoutPandas())


@contextmanager
def importing_without_pandas() -> Iterator[None]:
    """Imports inside the block find no pandas; later imports do."""
    finder = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _WithoutPandas:
    def find_spec(self, name: str, _path: object, _target: object = None) -> None:
        """Tell the import system that there is no pandas; say nothing of any other module."""
        if name == "pandas":
            raise ModuleNotFoundError("AniMusic's processes do without pandas", name=name)


def lower_priority(nice: int) -> None:
    """Run at this nice value (0 to 19), or stay at the higher one that this process has; its children inherit it.

    Does nothing where there is no such thing (Windows).
    """
    if hasattr(os, "nice"):
        os.nice(max(0, nice - os.nice(0)))
