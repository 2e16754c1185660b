"""The doctor survives whatever he looks at."""

import asyncio

from services.operator.findings import Finding, run_checks


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
