"""Views built a second time from the log, beside the live ones: one engine for every store.

`engine` reads all partitions in worker processes, waits until the new view has reached the live one, and has its target
compare the two and switch. A worker decodes and writes with the sink of the live consumer. A target says what differs
by store: `services.operator.replay.profiles` (Redis), `services.warehouse.rebuild` (ClickHouse).

No consumer group is joined. The target's high-water marks are the only progress that is kept: whatever stops or kills
a rebuild, the next one goes on from them.
"""
