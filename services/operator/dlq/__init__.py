"""Dead letters: what an operator can know of them and do with them.

The topic is a log: nothing in it changes. A dead letter is all records that speak of one poisoned record; that it was
redriven or purged is a note, a record of the same topic (decision 15). All of it is read from the start and folded.
"""
