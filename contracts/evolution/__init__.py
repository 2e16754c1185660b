"""Schema evolution: how records change without losing old ones.

`versions` reads records of any published version. `compatible` finds changes of a published schema that would lose old
records. `meanings` lists the register writes of each kind of event. See docs/tasks/add-an-event.md and decision 15.
"""
