"""What our processes do without: pyarrow and scikit-learn import pandas where it is, to ask whether a value is its.

That takes 1 s of CPU and 50 MB at the start of a process that has no such value.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


def without_pandas() -> None:
    """From here on, importing pandas fails in this process as if it were not installed."""
    sys.modules.setdefault("pandas", None)  # type: ignore[arg-type]


@contextmanager
def importing_without_pandas() -> Iterator[None]:
    """What is imported inside the block finds no pandas; others that want it find it afterwards."""
    known = "pandas" in sys.modules
    without_pandas()
    try:
        yield
    finally:
        if not known:
            del sys.modules["pandas"]
