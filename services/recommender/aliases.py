"""A listener's registers under the ids that songs and anime have today.

The store keeps events under the ids that they came with. A register's merge is a maximum, so merging the registers of
two ids gives what the fold of all events under one id gives: nothing needs to be rewritten when an id becomes an alias.
"""

from collections.abc import Callable, Mapping

Merge = Callable[[bytes, bytes], bytes]


def under_own_ids(registers: Mapping[str, bytes], aliases: Mapping[str, str], merge: Merge) -> Mapping[str, bytes]:
    """`registers` (id -> packed) with those of every alias merged into its own id; the same object where none is."""
    found = registers.keys() & aliases.keys()
    if not found:
        return registers
    merged = dict(registers)
    for alias in found:
        value, own = merged.pop(alias), aliases[alias]
        merged[own] = merge(merged[own], value) if own in merged else value
    return merged
