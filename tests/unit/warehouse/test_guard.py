"""The guard on canonical statements: what it lets through, what it refuses, and that its sentence says why."""

import pytest

from services.warehouse.guard import output_format, refusal, tokens

KNOWN = frozenset({"file", "url", "s3", "numbers", "values", "merge", "python", "remote", "format", "eval"})

ALLOWED = [
    "SELECT 1",
    "SELECT * FROM exposure_curve WHERE arm = 'INTO OUTFILE; file()' FORMAT JSON",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "SELECT url, format FROM t",
    "SELECT format('{}', a) FROM t",
    "SELECT * FROM numbers(10)",
    "SELECT name FROM system.tables",
    "SELECT table_name FROM information_schema.tables",
    "SHOW TABLES",
    "SHOW CREATE TABLE animusic.feedback",
    "DESCRIBE TABLE animusic.feedback",
    "EXPLAIN actions = 1 SELECT 1",
    "EXISTS TABLE animusic.feedback",
    "SELECT {x:String}, {t:Identifier} FROM t",
    "SELECT 1 AS settings",
]


@pytest.mark.parametrize("statement", ALLOWED)
def test_reading_is_allowed(statement: str) -> None:
    assert refusal(statement, {"x": "a.b", "t": "arm"}, KNOWN) is None


REFUSED = [
    ("", "only SELECT"),
    ("INSERT INTO t FORMAT CSV", "only SELECT"),
    ("ALTER TABLE t DELETE WHERE 1", "only SELECT"),
    ("SET readonly = 0", "only SELECT"),
    ("USE system", "only SELECT"),
    ("KILL QUERY WHERE 1 ASYNC", "only SELECT"),
    ("EXECUTE AS x SELECT 1", "only SELECT"),
    ("SHOW PROCESSLIST", "SHOW answers"),
    ("SHOW GRANTS", "SHOW answers"),
    ("EXPLAIN CURRENT TRANSACTION", "EXPLAIN answers"),
    ("SELECT 1 INTO OUTFILE 'x' FORMAT CSV", "INTO OUTFILE"),
    ("SELECT 1 PARALLEL WITH SELECT 2", "one statement"),
    ("SELECT 1 SETTINGS max_threads = 4", "cannot change settings"),
    ("SELECT file('/etc/passwd')", "file is refused"),
    ("SELECT FILE('/etc/passwd')", "FILE is refused"),
    ("SELECT `file`('/etc/passwd')", "file is refused"),
    ("SELECT arrayMap(file, ['/etc/passwd'])", "file is refused"),
    ("SELECT * APPLY file FROM t", "file is refused"),
    ("SELECT aiGenerate('x')", "aiGenerate is refused"),
    ("DESCRIBE TABLE url('http://x/')", "table function url"),
    ("SELECT * FROM Python(x)", "table function Python"),
    ("SELECT * FROM `s3`('http://x/')", "table function s3"),
    ("SELECT * FROM view(SELECT * FROM remote('x', 'system.one'))", "table function remote"),
    ("SELECT * FROM merge('system', '.*')", "table function merge"),
    ("SELECT * FROM eval('SELECT 1')", "table function eval"),
    ("SELECT * FROM system.processes", "system.processes is refused"),
    ("SELECT * FROM System.Processes", "System.Processes is refused"),
    ("SELECT * FROM `system`.`query_log`", "system.query_log is refused"),
    ("SELECT 1 IN system.processes", "system.processes is refused"),
    ("SELECT * FROM system.{t:Identifier}", "is refused"),
    ("SELECT * FROM {d:Identifier}.{u:Identifier}", "parameter d"),
    ("SELECT 'unfinished", "cannot be read"),
]


@pytest.mark.parametrize(("statement", "reason"), REFUSED)
def test_everything_else_is_refused_and_says_why(statement: str, reason: str) -> None:
    said = refusal(statement, {"t": "one", "d": "system", "u": "processes"}, KNOWN)
    assert said is not None
    assert reason in said


def test_literals_and_quoted_names_are_one_token_each() -> None:
    found = tokens(r"SELECT 'it\'s; --', `a\`b` FROM t")
    assert [token.text for token in found] == ["SELECT", r"'it\'s; --'", ",", r"a\`b", "FROM", "t"]


def test_the_format_clause_is_found_at_the_end_only() -> None:
    assert output_format("SELECT 1 FORMAT Native") == "Native"
    assert output_format("SELECT format AS x FROM t") is None
    assert output_format("SELECT 'FORMAT CSV'") is None
