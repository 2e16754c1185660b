"""How many dead letters a consumer takes before it stops."""

import pytest

from services.common.kafka.consuming.dead_letters import DeadLetterLimit, TooManyDeadLetters
from services.common.settings import KafkaSettings

DEAD, READ = "kind: no", None


def limit(**settings: float) -> DeadLetterLimit:
    """With the defaults but for these."""
    return DeadLetterLimit(KafkaSettings(**settings))


def test_fewer_than_the_least_never_stop_a_consumer():
    limit().check([DEAD] * 99)
    with pytest.raises(TooManyDeadLetters, match="100 of the last 100 records cannot be read"):
        limit().check([DEAD] * 100)


def test_a_share_that_is_not_too_large_goes_on_for_ever():
    counting = limit()
    for _ in range(1_000):
        counting.check([READ, READ, READ, READ, DEAD])
    with pytest.raises(TooManyDeadLetters, match="201 of the last 1000 records cannot be read, over 20%"):
        counting.check([DEAD] * 2)


def test_only_recent_records_count():
    counting = limit()
    counting.check([DEAD] * 99)
    counting.check([READ] * 1_000)
    counting.check([DEAD] * 99)
    counting.check([READ] * 5_000)
    counting.check([*[DEAD] * 200, *[READ] * 5_000])


def test_it_is_found_in_the_middle_of_a_batch():
    with pytest.raises(TooManyDeadLetters):
        limit().check([*[READ] * 2_000, *[DEAD] * 201, *[READ] * 5_000])


def test_it_says_why_and_what_to_do():
    with pytest.raises(TooManyDeadLetters, match=r"the last reason: kind: no\..*ANIMUSIC_KAFKA__DEAD_LETTER_SHARE=1$"):
        limit(dead_letter_least=1, dead_letter_share=0).check([DEAD])


def test_a_share_of_one_never_stops():
    limit(dead_letter_share=1).check([DEAD] * 10_000)
