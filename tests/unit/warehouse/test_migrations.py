"""The migration files: numbered without gaps, made of statements that can be run again, true to the contracts."""

from pathlib import Path

import pytest

from contracts.arms import ARM_CODES
from services.warehouse.migrations import Migration, migrations


def test_files_are_numbered_and_can_be_run_again() -> None:
    found = migrations()
    assert [migration.number for migration in found] == list(range(1, len(found) + 1))
    for migration in found:
        for statement in migration.statements():
            assert statement.startswith(
                ("CREATE TABLE IF NOT EXISTS animusic.", "CREATE MATERIALIZED VIEW IF NOT EXISTS animusic.",
                 "CREATE OR REPLACE VIEW animusic.", "ALTER TABLE animusic.catalogue\n    ADD COLUMN IF NOT EXISTS",
                 # The higher number stays.
                 "INSERT INTO animusic.marks (topic_id, `partition`, topic, mark) SELECT '', 0, 'beginning', rand64()")
            ), statement[:80]  # fmt: skip


def test_arms_have_their_codes_everywhere() -> None:
    names = "[" + ", ".join(f"'{arm}'" for arm in ARM_CODES) + "]"
    codes = "[" + ", ".join(map(str, ARM_CODES.values())) + "]"
    text = "".join(migration.text for migration in migrations())
    assert text.count("'mpnet'") == text.count(names) == text.count(codes)


def test_a_gap_or_a_strange_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0002_b.sql").write_text("SELECT 1;")
    with pytest.raises(ValueError, match="without a gap"):
        migrations(tmp_path)
    (tmp_path / "b.sql").write_text("SELECT 1;")
    with pytest.raises(ValueError, match="NNNN_words"):
        migrations(tmp_path)


def test_statements_end_with_a_semicolon_at_the_end_of_a_line() -> None:
    text = "-- a comment;\nSELECT ';', 1\nFROM t;\n\n-- more\nSELECT 2; \n"
    assert list(Migration(1, "x", text).statements()) == ["SELECT ';', 1\nFROM t", "SELECT 2"]
