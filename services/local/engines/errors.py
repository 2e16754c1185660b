"""Everything that can keep an engine from running. Each message says what to do.

EngineError
├── NoJava           no Java 17 or newer was found
├── JarsMissing      Kafka's jars could not be fetched, or the given directory lacks them
├── PortTaken        another program listens on a port that was asked for
├── SocketUnsafe     the short directory for Valkey's socket belongs to somebody else
├── NoUtf8Locale     Java cannot spell the data directory: the machine has no UTF-8 locale
├── PathRefused      a path that Java cannot be given
├── LogMisplaced     an earlier version wrote Kafka's log outside the data directory
└── EngineFailed     the engine ended, or was not ready in time; carries the end of its log
"""


class EngineError(RuntimeError):
    """An engine cannot be run."""


class NoJava(EngineError):
    """No Java 17 or newer was found."""


class JarsMissing(EngineError):
    """Kafka's jars are not there and could not be fetched."""


class PortTaken(EngineError):
    """Another program listens on a port that the settings ask for."""


class SocketUnsafe(EngineError):
    """The directory for a short socket path belongs to another user."""


class NoUtf8Locale(EngineError):
    """The data directory has letters beyond ASCII, and the machine has no UTF-8 locale to spell them in."""


class PathRefused(EngineError):
    """A path that Java cannot be given."""


class LogMisplaced(EngineError):
    """An earlier version wrote Kafka's log outside the data directory."""


class EngineFailed(EngineError):
    """An engine ended by itself, or was not ready before its deadline."""
