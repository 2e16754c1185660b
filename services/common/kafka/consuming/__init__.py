"""Consume the log into a store, from the store's own high-water mark. The mark is written with the effects or
after them, never before.

A service implements `Sink` (see `model`); `consumer.Consumer` does the rest. Two things are not decided here: what a
record means, and when it has had its effect. Both are the sink's.
"""
