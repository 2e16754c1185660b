"""How a store follows the log: from the store's own high-water mark, effects with their mark, nothing lost or skipped.

A service brings a `Sink` (see `model`); `consumer.Consumer` does the rest. What must never be decided here: what a
record means, and when it has had its effect. Both are the sink's.
"""
