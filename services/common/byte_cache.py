"""A cache that is bounded by memory, not by a number of entries: entries differ in size a thousandfold."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from prometheus_client import Gauge

CACHE_BYTES = Gauge("animusic_cache_bytes", "Memory of a cache, as estimated", ["cache"])

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class ByteCache(Generic[_Key, _Value]):
    """The most recently used values; the least recently used are dropped while all together exceed `most_bytes`.

    Args:
        name: the label of the metric.
        size_of: the estimated size of a value in bytes, as of when it is put.
    """

    def __init__(self, name: str, most_bytes: int, size_of: Callable[[_Value], int]) -> None:
        self.most_bytes, self._size_of = most_bytes, size_of
        self._values: OrderedDict[_Key, tuple[_Value, int]] = OrderedDict()
        self._gauge = CACHE_BYTES.labels(name)
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: _Key) -> _Value | None:
        """The value, which is then the most recently used; None where there is none."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: _Key, value: _Value) -> None:
        """Keep a value in place of what the key had. One that is larger than the cache is not kept."""
        size = self._size_of(value)
        self.bytes += size - self._values.pop(key, (value, 0))[1]
        self._values[key] = value, size
        while self.bytes > self.most_bytes:
            self.bytes -= self._values.popitem(last=False)[1][1]
        self._gauge.set(self.bytes)
