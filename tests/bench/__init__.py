"""Benchmarks: `make bench` runs them against the real system and rewrites docs/benchmarks.md."""
