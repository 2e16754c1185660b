"""Half an hour of seeded listeners while everything that can break is broken; in the end every count must agree."""
