"""The report of a build whose figures are known."""

import pytest

from services.analytics.feasibility import ORIGINALS, lines, notes

BUILD = {
    "arm": "node2vec", "version": "0" * 16, "started": "2026-01-02 03:04:05.678", "songs": 1000, "encoded": 1000,
    "reused": 0, "seconds": 3.5, "cpu_seconds": 2.0, "peak_memory_bytes": "250000000", "cores": 2, "device": "cpu",
    "stage_seconds": {"vectors": 2.5, "catalogue": 0.5}, "stage_cpu_seconds": {"vectors": 1.5, "catalogue": 0.25},
    "params": "{}",
}  # fmt: skip


def test_stages_come_in_their_order_and_then_the_whole() -> None:
    report = lines([BUILD])
    assert [(line.stage, line.seconds, line.cpu_seconds) for line in report] == [
        ("catalogue", 0.5, 0.25),
        ("vectors", 2.5, 1.5),
        ("whole", 3.5, 2.0),
    ]
    assert [line.cpu_ms_per_song for line in report] == [0.25, 1.5, 2.0]


def test_the_original_stands_beside_the_whole_by_the_song() -> None:
    *stages, whole = lines([BUILD])
    assert all(line.times_less is None for line in stages)
    assert whole.original_cpu_ms_per_song == pytest.approx(1_705_000 / 14_885)
    assert whole.times_less == pytest.approx(1_705_000 / 14_885 / 2.0)
    assert whole.peak_memory_bytes == 250_000_000


def test_an_arm_without_an_original_says_nothing_of_it() -> None:
    whole = lines([{**BUILD, "arm": "tfidf", "peak_memory_bytes": 0}])[-1]
    assert (whole.times_less, whole.original_memory_bytes, whole.peak_memory_bytes) == (None, None, None)


def test_every_figure_of_the_original_says_where_it_is_from() -> None:
    said = "\n".join(notes([BUILD]))
    assert all(original.source in said for original in ORIGINALS.values())
    assert "node2vec 0000000000000000: built 2026-01-02 03:04 UTC on 2 cores (cpu)" in said
