"""The doctor survives whatever it looks at, and what it tells to look at is there."""

import asyncio

from services.operator.findings import Finding, placed, run_checks


async def test_a_check_that_raises_or_hangs_is_a_finding_with_its_remedy() -> None:
    async def well() -> list[Finding]:
        return [Finding("well", "ok", "fine")]

    async def broken() -> list[Finding]:
        raise ConnectionError("nobody there\nsecond line")

    async def hanging() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    checks = [("broken", "start it", broken), ("hanging", "kill it", hanging), ("well", "", well)]
    found = await run_checks(checks, timeout_seconds=0.05)
    assert [(f.name, f.state, f.remedy) for f in found] == [
        ("broken", "fail", "start it"),
        ("hanging", "fail", "kill it"),
        ("well", "ok", ""),
    ]
    assert found[0].detail == "ConnectionError: nobody there"


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
