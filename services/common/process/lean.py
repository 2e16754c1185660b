"""Blocks the import of pandas: pyarrow and scikit-learn import it to check the types of values.

That takes 1 s of CPU and 50 MB at the start of a process that has no such value.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
