"""The `animusic` command: one file per command, without business rules."""
