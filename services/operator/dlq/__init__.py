"""Dead letters: list, inspect, redrive and purge them.

The topic only grows. A dead letter is all records about one poisoned record. That it was
redriven or purged is a note, a record of the same topic (decision 15). Commands read the topic from its start.
"""
