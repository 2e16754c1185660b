"""Everything that can keep an engine from running. Each message says what to do.

EngineError
├── NoJava           no Java 17 or newer was found
├── JarsMissing      Kafka's jars could not be fetched, or the given directory lacks them
├── PortTaken        another program listens on a port that was asked for
├── SocketUnsafe     the short directory for Valkey's socket belongs to somebody else
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


class EngineFailed(EngineError):
    """An engine ended by itself, or was not ready before its deadline."""
