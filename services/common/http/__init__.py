"""HTTP in every service: the server, its port, health and metrics."""
