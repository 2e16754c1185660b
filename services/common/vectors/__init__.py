"""Collections of song vectors: how they lie on disk, how they are searched."""
