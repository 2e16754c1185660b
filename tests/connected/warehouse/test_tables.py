"""The tables in a real engine: true to the contracts, migrated once, whatever interrupts it."""

import pytest

from contracts.catalogue import Song
from contracts.registers import FIRST_EXPOSURE, LIKED, PLAYED, SETTLED, STARTED, VETO, WATCHED
from services.common.clickhouse import DATABASE, ChdbConnection, ClickhouseError
from services.warehouse import rows
from services.warehouse.migrations import Migration, migrate, migrations
from services.warehouse.rows import Place
from tests.connected.warehouse.engine import TABLES

pytestmark = pytest.mark.connected

REGISTERS = {
    ("registers", "watched"): WATCHED,
    ("registers", "liked"): LIKED,
    ("registers", "started"): STARTED,
    ("registers", "settled"): SETTLED,
    ("registers", "first_exposure"): FIRST_EXPOSURE,
    ("registers", "watched_attributed"): WATCHED,
    ("registers", "liked_attributed"): LIKED,
    ("vetoes", "veto"): VETO,
    ("played", "played"): PLAYED,
    ("slot_outcomes", "watched"): WATCHED,
    ("slot_outcomes", "liked"): LIKED,
}


def _columns(clickhouse: ChdbConnection) -> dict[tuple[str, str], str]:
    found = clickhouse.query(f"SELECT table, name, type FROM system.columns WHERE database = '{DATABASE}'").to_pylist()
    return {(row["table"], row["name"]): row["type"] for row in found}


def test_registers_have_the_types_of_the_contract(clickhouse: ChdbConnection) -> None:
    columns = _columns(clickhouse)
    for at, register in REGISTERS.items():
        assert columns[at] == register.clickhouse_type, at
    tuples = {at for at, kind in columns.items() if "Tuple(" in kind and at[0] in TABLES}
    assert tuples == set(REGISTERS)


def test_an_absent_register_is_the_identity(clickhouse: ChdbConnection) -> None:
    clickhouse.command("INSERT INTO animusic.registers (user_id, song_id) VALUES ('u', 's')")
    (row,) = clickhouse.query("SELECT * FROM animusic.registers").to_pylist()
    for (table, name), register in REGISTERS.items():
        if table == "registers":
            assert register.encode(*row[name].values()) == register.identity, name


def test_rows_fill_every_column_of_their_table(clickhouse: ChdbConnection) -> None:
    columns = _columns(clickhouse)
    for table, build in (
        ("feedback", rows.feedback),
        ("playlists", rows.playlists),
        ("served_slots", rows.served_slots),
        ("catalogue", rows.catalogue),
        ("model_switches", rows.model_switches),
        ("model_builds", rows.model_builds),
        ("forgotten", rows.forgotten),
    ):
        wanted = {name for of, name in columns if of == table} - {"inserted_at"}
        assert set(build([]).column_names) == wanted, table


MOST = {"Nullable(UInt32)": 2**32 - 1, "Nullable(UInt64)": 2**64 - 1}


def test_every_number_of_a_song_that_the_contract_takes_fits_its_column(clickhouse: ChdbConnection) -> None:
    kinds = {name: kind for (table, name), kind in _columns(clickhouse).items() if table == "catalogue"}
    numbers = {name: kind for name, kind in kinds.items() if kind in MOST or kind == "Nullable(Float64)"}
    assert numbers.keys() == rows.CATALOGUE_RANGES.keys()
    assert {name: rows.CATALOGUE_RANGES[name].most for name, kind in numbers.items() if kind in MOST} == {
        name: MOST[kind] for name, kind in numbers.items() if kind in MOST
    }
    for end in ("least", "most"):
        clickhouse.command("TRUNCATE TABLE animusic.catalogue")
        wanted = {name: getattr(range_, end) for name, range_ in rows.CATALOGUE_RANGES.items()}
        clickhouse.insert(f"{DATABASE}.catalogue", rows.catalogue([(Place("0" * 32, 0, 0, 0), _song(wanted))]))
        (stored,) = clickhouse.query(f"SELECT {', '.join(wanted)} FROM animusic.songs").to_pylist()
        assert stored == wanted


def _song(numbers: dict[str, int]) -> Song:
    """A song whose row has these numbers."""
    anime = {
        "anime_id": "a", "title": "A", "mal_id": numbers["mal_id"], "score": numbers["mal_score"],
        "popularity": numbers["mal_popularity"],
    }  # fmt: skip
    link = {"site": "youtube", "id": "x", "views": numbers["youtube_views"], "likes": numbers["youtube_likes"]}
    appearances = [{"anime": anime, "relation": "opening"}]
    told = {"song_id": "s", "title": "S", "appearances": appearances, "links": [link]}
    told |= {name: numbers[name] for name in ("rating", "anidb_id")}
    return Song.model_validate(told)


def test_migrating_again_does_nothing_and_a_changed_file_is_noticed(clickhouse: ChdbConnection) -> None:
    assert migrate(clickhouse) == []
    changed = migrations()
    changed[0] = Migration(1, changed[0].name, changed[0].text + "-- another comment")
    with pytest.raises(ValueError, match="changed after it was applied"):
        migrate(clickhouse, changed)
    with pytest.raises(ValueError, match="does not know"):
        migrate(clickhouse, migrations()[:-1])


def test_a_migration_that_was_interrupted_is_finished(clickhouse: ChdbConnection) -> None:
    first = f"CREATE TABLE IF NOT EXISTS {DATABASE}.half (a UInt8) ENGINE = MergeTree ORDER BY a"
    number = len(migrations()) + 1
    broken = Migration(number, "half", f"{first};\nCREATE TABLE nonsense;\n")
    with pytest.raises(ClickhouseError):
        migrate(clickhouse, [*migrations(), broken])
    whole = Migration(number, "half", f"{first};\n")
    assert migrate(clickhouse, [*migrations(), whole]) == [f"{number:04d}_half"]
    clickhouse.command(f"DROP TABLE {DATABASE}.half")
    clickhouse.command(f"ALTER TABLE {DATABASE}.migrations DELETE WHERE number = {number} SETTINGS mutations_sync = 2")


def test_errors_carry_their_code(clickhouse: ChdbConnection) -> None:
    with pytest.raises(ClickhouseError, match=r"^Code: 60") as caught:
        clickhouse.query("SELECT * FROM nothing")
    assert caught.value.code == 60
    assert not caught.value.about_data
