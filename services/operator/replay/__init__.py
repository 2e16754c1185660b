"""Views built anew from the log, beside the live ones.

`profiles` coordinates a rebuild of profiles: it holds the lease, starts `worker` processes that read partitions and
fold them into a shadow generation, watches the marks, compares, and switches the pointer. The live consumer's group is
never touched, and neither is the live generation.
"""
