"""The real Kafka and Valkey as child processes, from Python packages alone."""
