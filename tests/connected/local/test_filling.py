"""What a start makes of a catalogue file that was changed, cut off, or emptied since: it goes on with what there is."""

import io
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from rich.console import Console

from services.common.kafka.catalogue_log import read_catalogue
from services.common.settings import KafkaSettings, Settings
from services.local.contents import Contents
from services.local.errors import PartFailed
from services.local.filling import _catalogue
from services.local.layout import Layout
from services.local.screen import Steps

pytestmark = pytest.mark.connected

HEADER = "song,anime,MAL_ID,vocals\n"
Start = Callable[[Path], Awaitable[str]]


def lines(first: int, last: int) -> str:
    return "".join(f"Song {n},Anime {n},{900 + n},Singer {n}\n" for n in range(first, last))


@pytest.fixture
def start(log: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """The part of a start that loads a catalogue; what it printed."""
    monkeypatch.setenv("ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS", log.bootstrap_servers)
    layout = Layout.of(tmp_path / "data")

    async def started(file: Path) -> str:
        settings = Settings(data_dir=layout.root, kafka=log, local={"catalogue": str(file)})
        printed = io.StringIO()
        with Steps(Console(file=printed, width=200)) as steps:
            await _catalogue(settings, layout, Contents(layout), steps)
        return printed.getvalue()

    return started


async def test_a_start_withdraws_what_is_replaced_and_little_else(
    start: Start, log: KafkaSettings, tmp_path: Path
) -> None:
    async def titles() -> set[str]:
        return {song.title for song in (await read_catalogue(log)).songs.values()}

    empty = tmp_path / "empty.csv"
    empty.write_text(HEADER + ",,,\n")
    with pytest.raises(PartFailed, match="none of the 1 rows could be read"):
        await start(empty)
    mine, all_of_them = tmp_path / "mine.csv", {f"Song {n}" for n in range(40)}
    mine.write_text(HEADER + lines(0, 40))
    assert f"catalogue: {mine}" in await start(mine)
    assert await titles() == all_of_them
    # The same file with a few songs less, then with most of them gone, cut off, and in another encoding.
    mine.write_text(HEADER + lines(2, 40))
    await start(mine)
    assert await titles() == {f"Song {n}" for n in range(2, 40)}
    mine.write_text(HEADER + lines(2, 10))
    printed = await start(mine)
    assert "nothing was withdrawn" in printed and f"catalogue: {mine}, in part" in printed
    mine.write_text(HEADER + lines(2, 39) + "Song 39,Ani")
    assert "was not read to its end: rows may be lost in line 39" in await start(mine)
    assert await titles() == {f"Song {n}" for n in range(2, 40)}
    # Another file is served alone, as it was asked for.
    other = tmp_path / "other.csv"
    other.write_text(HEADER + lines(100, 103))
    await start(other)
    assert await titles() == {"Song 100", "Song 101", "Song 102"}
