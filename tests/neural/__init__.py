"""Tests that encode: they need the extra `neural`, so `make test-neural` runs them in an environment of its own."""
