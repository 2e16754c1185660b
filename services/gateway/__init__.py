"""HTTP in, log out: authenticates, checks, stamps and appends; and forwards requests to the recommender."""
