"""Everything that keeps the local system from starting or going on. Each message says what to do.

LocalError
├── AlreadyRunning   another supervisor holds the data directory
├── PublicPortTaken  somebody listens on the one public port
└── PartFailed       a part did not get ready, or a job ended badly; carries the end of its log
"""


class LocalError(RuntimeError):
    """The local system cannot run."""


class AlreadyRunning(LocalError):
    """Another supervisor holds the data directory."""


class PublicPortTaken(LocalError):
    """Somebody listens on the one public port."""


class PartFailed(LocalError):
    """A part did not get ready, or a job ended badly. `status`: the exit status of a job; None of anything else."""

    def __init__(self, sentence: str, status: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
