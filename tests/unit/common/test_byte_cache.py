"""A cache holds at most its bytes: what was used least recently goes first, and the metric says what is held."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.common.byte_cache import ByteCache


def test_the_least_recently_used_goes_first() -> None:
    cache: ByteCache[str, bytes] = ByteCache("test", 10, len)
    cache.put("a", b"1234")
    cache.put("b", b"1234")
    assert cache.get("a") == b"1234"
    cache.put("c", b"1234")
    assert cache.get("b") is None and cache.get("a") == b"1234" and cache.get("c") == b"1234"
    assert REGISTRY.get_sample_value("animusic_cache_bytes", {"cache": "test"}) == cache.bytes == 8


def test_a_value_that_does_not_fit_is_not_kept() -> None:
    cache: ByteCache[str, bytes] = ByteCache("test", 10, len)
    cache.put("a", bytes(11))
    assert cache.get("a") is None and (cache.bytes, len(cache)) == (0, 0)


@given(puts=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8))), most=st.integers(0, 20))
def test_it_never_holds_more_and_counts_what_it_holds(puts: list[tuple[int, int]], most: int) -> None:
    cache: ByteCache[int, bytes] = ByteCache("test", most, len)
    for key, size in puts:
        cache.put(key, bytes(size))
        held = [value for each in range(6) if (value := cache.get(each)) is not None]
        assert sum(map(len, held)) == cache.bytes <= most
        assert size > most or cache.get(key) == bytes(size)
