"""The log against Redis against ClickHouse, at any time.

`checking` reads the log once and holds both stores against it; `rows`, `redis` and `clickhouse` know one side each.
"""
