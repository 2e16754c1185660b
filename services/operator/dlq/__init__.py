"""Dead letters: what an operator can know of them and do with them.

The topic is a log: nothing in it changes. A letter is all records that speak of one poisoned record; what became of it
is a note, a record of the same topic (decision 15). Everything here reads the topic from its start and folds it.
"""
