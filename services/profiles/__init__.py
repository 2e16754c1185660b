"""Writes profiles from the log to Redis. Other services may import `reader` only."""
