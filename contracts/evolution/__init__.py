"""How records change their shape over the years without a record being lost.

`versions` reads what was written in any published version, `compatible` says which changes of a published schema would
lose old records, `meanings` what a kind of event means. See docs/tasks/add-an-event.md and decision 15.
"""
