"""HTTP in, log out: authenticate, check, stamp, append, answer; and the recommender's only door to the world."""
