"""Token buckets."""

from services.gateway.identity import Buckets


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    buckets = Buckets(2.0, 3, clock=clock)
    assert [buckets.take("u") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    clock.now = 0.5
    assert [buckets.take("u") for _ in range(2)] == [0.0, 0.5]


def test_waiting_does_not_fill_a_bucket_over_its_burst() -> None:
    clock = Clock()
    buckets = Buckets(10.0, 2, clock=clock)
    clock.now = 1e6
    assert [buckets.take("u") > 0 for _ in range(3)] == [False, False, True]


def test_refused_posts_cost_nothing() -> None:
    clock = Clock()
    buckets = Buckets(1.0, 1, clock=clock)
    assert buckets.take("u") == 0.0
    assert {buckets.take("u") for _ in range(100)} == {1.0}


def test_users_do_not_share() -> None:
    buckets = Buckets(1.0, 1, clock=Clock())
    assert [buckets.take(name) for name in "abca"] == [0.0, 0.0, 0.0, 1.0]


def test_memory_is_bounded_and_a_dropped_bucket_starts_full() -> None:
    buckets = Buckets(1.0, 1, most=2, clock=Clock())
    for name in "abc":
        buckets.take(name)
    assert buckets.take("a") == 0.0
    assert buckets.take("c") == 1.0
