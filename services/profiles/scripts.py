"""The scripts that run inside Redis. They are package data, in `services/profiles/lua`."""

from typing import Final

from contracts.registers import SERVED
from services.common.redis import script

assert all(register.direction == "max" for register in SERVED), "MERGE knows only registers whose maximum is the merge"

# Enough for the last 20 to 40 flushes of one or two songs.
CHANGES_BYTES: Final = 1024
# What MERGE answers beside a mark.
ACCEPTED: Final = -2
NO_MARK: Final = -1

MERGE: Final = (
    script("services.profiles", "merge")
    .replace("@WIDTHS@", ",".join(str(register.width) for register in SERVED))
    .replace("@CHANGES@", str(CHANGES_BYTES))
)
READ: Final = script("services.profiles", "read")
SWITCH: Final = script("services.profiles", "switch")
