"""Writes profiles from the log to Redis. The recommender may import `reader` only."""
