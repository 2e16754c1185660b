"""What a remedy tells to look at is there."""

from services.operator.findings import Finding, placed


def test_a_remedy_names_a_path_that_can_be_pasted(tmp_path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "kafka.log").touch()
    told = placed(
        [
            Finding("log", "fail", "no answer", "look at <data_dir>/logs/kafka.log, or at ANIMUSIC_KAFKA__…"),
            Finding("gateway", "fail", "no answer", "the end of <data_dir>/logs/gateway.log says why"),
            Finding("disk", "warn", "full", "make room below <data_dir>"),
        ],
        tmp_path,
    )
    assert [finding.remedy for finding in told] == [
        f"look at {tmp_path}/logs/kafka.log, or at ANIMUSIC_KAFKA__…",
        "the end of the log of gateway says why",
        f"make room below {tmp_path}",
    ]
