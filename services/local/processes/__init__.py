"""Managed processes: the real Kafka and Valkey as children of ours, from Python packages alone."""
