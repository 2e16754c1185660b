"""`make bench-models`: what building models costs, and what they find, beside the original's library."""
