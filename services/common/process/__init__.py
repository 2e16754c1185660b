"""What every process of ours has: clock, event loop, identity, priority, logging."""
