"""Readers of the log, of Redis and of ClickHouse that all commands of an operator share. They write nothing."""
