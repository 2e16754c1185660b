"""The errors of the local system. Each message says what to do.

LocalError
├── AlreadyRunning   another supervisor holds the data directory
├── PartFailed       a part did not get ready, or a job ended badly; carries the end of its log
├── PortTaken        another program listens on a port that was asked for
├── NoJava           no Java 17 or newer was found
├── JarsMissing      Kafka's jars could not be fetched, or the given directory lacks them
├── SocketUnsafe     the short directory for Valkey's socket belongs to another user
├── NoUtf8Locale     Java cannot write the name of the data directory: there is no UTF-8 locale
├── PathRefused      a path that Java cannot be given
├── LogMisplaced     an earlier version wrote Kafka's log outside the data directory
└── ProcessFailed    Kafka or Valkey ended, or was not ready in time; carries the end of its log
"""


class LocalError(RuntimeError):
    """The local system cannot run."""


class AlreadyRunning(LocalError):
    """Another supervisor holds the data directory."""


class PartFailed(LocalError):
    """A part did not get ready, or a job ended badly. `status`: the exit status of a job; None of anything else."""

    def __init__(self, sentence: str, status: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status


class PortTaken(LocalError):
    """Another program listens on a port that the settings ask for."""


class NoJava(LocalError):
    """No Java 17 or newer was found."""


class JarsMissing(LocalError):
    """Kafka's jars are not there and could not be fetched."""


class SocketUnsafe(LocalError):
    """The directory for a short socket path belongs to another user."""


class NoUtf8Locale(LocalError):
    """The data directory has characters beyond ASCII, and the machine has no UTF-8 locale to write them in."""


class PathRefused(LocalError):
    """A path that Java cannot be given."""


class LogMisplaced(LocalError):
    """An earlier version wrote Kafka's log outside the data directory."""


class ProcessFailed(LocalError):
    """A managed process ended by itself, or was not ready before its deadline."""
