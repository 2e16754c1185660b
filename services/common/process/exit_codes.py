"""Exit codes, as in sysexits.h."""

from typing import Final

# EX_DATAERR: an import took what it could, and its source held more than that, or said less than it should.
INCOMPLETE: Final = 65
