"""A cache of a model revision's vectors by text: no text is encoded twice.

One SQLite file a revision: text digest -> float32 bytes. Each `put` is one transaction, so a job that is killed keeps
every batch but the one that it was at.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

_DIGEST_BYTES: Final = 16
# Most variables of one statement that every SQLite takes.
_AT_ONCE: Final = 500
_BUSY_S: Final = 30.0
_TABLE: Final = "CREATE TABLE IF NOT EXISTS vectors (text TEXT PRIMARY KEY, vector BLOB NOT NULL)"


def digest_of(text: str) -> str:
    """32 hex digits of a text."""
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


class EmbeddingCache:
    """The vectors of one model revision, by text digest. Several processes may use one at a time."""

    def __init__(self, directory: Path, arm: str, revision: str) -> None:
        """Opens nothing; the file comes with the first `put`."""
        self.path = directory / f"{arm}-{revision}.sqlite"

    def known(self, digests: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Those of the digests that are there -> vector, float32 (d,). Raises RuntimeError for a damaged file."""
        if not self.path.is_file():
            return {}
        found: dict[str, NDArray[np.float32]] = {}
        with self._connected() as database:
            for start in range(0, len(digests), _AT_ONCE):
                some = digests[start : start + _AT_ONCE]
                places = ",".join("?" * len(some))
                rows = database.execute(f"SELECT text, vector FROM vectors WHERE text IN ({places})", some)
                found.update((text, np.frombuffer(vector, np.float32)) for text, vector in rows)
        return found

    def put(self, digests: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Keep vectors (n, d) of n texts, on the disk when it returns; what is there already stays as it is.

        Raises ValueError when those that are there have another dimension.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = zip(digests, map(bytes, np.ascontiguousarray(vectors, np.float32)), strict=True)
        with self._connected() as database, database:
            there = database.execute("SELECT length(vector) FROM vectors LIMIT 1").fetchone()
            if there is not None and there[0] != vectors.shape[1] * 4:
                raise ValueError(f"{self.path} has vectors of {there[0] // 4} dimensions, not {vectors.shape[1]}")
            database.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)

    def content_digest(self) -> str:
        """16 hex digits of all that is in it."""
        digest = blake2b(digest_size=8)
        if self.path.is_file():
            with self._connected() as database:
                for text, vector in database.execute("SELECT text, vector FROM vectors ORDER BY text"):
                    digest.update(text.encode() + vector)
        return digest.hexdigest()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=_BUSY_S)) as database:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute(_TABLE)
                yield database
        except sqlite3.OperationalError as error:
            raise RuntimeError(f"{self.path} cannot be used just now: {error}") from error
        except sqlite3.DatabaseError as error:
            raise RuntimeError(
                f"{self.path} is damaged ({error}); remove it, and the next build encodes its texts anew"
            ) from error
