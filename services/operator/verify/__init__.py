"""The log against Redis against ClickHouse, at any time.

`checking` reads the log once and holds both stores against it; the other files compare one kind of thing each.
"""
