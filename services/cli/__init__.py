"""The `animusic` command: one file a verb, no rule of its own."""
