"""What our processes do without: pyarrow and scikit-learn import pandas where it is, to ask whether a value is its.

That takes 1 s of CPU and 50 MB at the start of a process that has no such value.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


def without_pandas() -> None:
    """From here on this process has no pandas."""
    sys.meta_path.insert(0, _WithoutPandas())


@contextmanager
def importing_without_pandas() -> Iterator[None]:
    """What is imported inside the block finds no pandas; others that want it find it afterwards."""
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
