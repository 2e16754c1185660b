"""What a verification says: samples that never change, differences register by register, values for people."""

from contracts.fold import Folded, fold, stored_fields
from contracts.registers import LIKED, SERVED_IDENTITY, SERVED_SLICES, VETO, WATCHED
from services.operator.verify.folding import half_md5
from services.operator.verify.model import Fault, Report, Sample
from services.operator.verify.registers import described, differences, folded_of
from tests.support.histories import histories

USERS = [f"user-{number}" for number in range(5_000)]


def test_a_sample_is_a_share_of_all_and_always_the_same() -> None:
    chosen = [user for user in USERS if Sample(0.1).holds(user)]
    assert 400 < len(chosen) < 600
    assert chosen == [user for user in USERS if Sample(0.1).holds(user)]
    assert set(chosen) <= {user for user in USERS if Sample(0.2).holds(user)}
    assert all(map(Sample(1.0).holds, USERS))
    assert [user for user in USERS if Sample(0.1, frozenset({"user-7"})).holds(user)] == ["user-7"]


def test_stored_fields_are_the_fold_again() -> None:
    for history in histories(5, 50):
        for folded in fold(history.events).values():
            served = Folded(songs=folded.songs, vetoes=folded.vetoes)
            assert differences(served, folded_of(stored_fields(folded))) == []


def test_a_difference_names_the_register_and_both_values() -> None:
    liked = LIKED.encode(1_700_000_000_123, bytes(range(16)), 1)
    at = SERVED_SLICES["liked"]
    packed = SERVED_IDENTITY[: at.start] + liked + SERVED_IDENTITY[at.stop :]
    veto = VETO.encode(1_700_000_000_000, bytes(16), 1)
    found = differences(Folded(songs={"a": packed}), Folded(vetoes={"b": veto}))
    assert [str(slot) for slot, _, _ in found] == ["anime b: veto", "song a: liked"]
    (_, _, stored), (slot, told, missing) = found
    assert (told, missing, stored) == (liked, None, veto)
    assert described(slot.register, told) == (
        "occurred_at 2023-11-14T22:13:20.123, event_id 00010203-0405-0607-0809-0a0b0c0d0e0f, value 1"
    )
    assert described(slot.register, missing) == "nothing"
    assert (
        described(WATCHED, WATCHED.encode(500_000, 45_000, 90_000)) == "ppm 500000, watch_ms 45000, duration_ms 90000"
    )


def test_a_share_of_few_is_never_nobody() -> None:
    for listeners in (1, 20, 100, 101, 1_000, 5_000):
        chosen = [user for user in USERS[:listeners] if Sample(0.01).of(listeners).holds(user)]
        assert len(chosen) == listeners if listeners <= 100 else 60 < len(chosen) <= 140
    assert Sample(0.01).of(1_000_000).share == 0.01
    assert Sample(0.5).of(1_000).share == 0.5
    assert Sample(0.01).of(0).share == 1.0


def test_exit_codes() -> None:
    report = Report(0.01)
    assert (report.code, report.empty) == (3, True)
    assert [Report(0.01, users=1).code, Report(0.01, lists=1).code, Report(0.01, rows=1).code] == [0, 0, 3]
    report.users = 1
    report.unsettled.append("somebody")
    assert report.code == 2
    report.add(Fault("redis", "user missing", "u"))
    assert report.code == 1
    assert "replay profiles" in report.faults[0].advice


def test_half_md5_is_clickhouses() -> None:
    # SELECT halfMD5('')
    assert half_md5("") == 0xD41D8CD98F00B204
