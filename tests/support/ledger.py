"""What clients were told, on disk: so that what the stores hold can be held against it, whatever happened meanwhile."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

Word = Literal["sent", "acknowledged", "refused", "served"]


class Ledger:
    """One writer's file: a line a word and id. Events are noted as sent before their post, as the rest after it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="ascii")

    def note(self, word: Word, ids: Iterable[str]) -> None:
        """Append; the lines are with the kernel when this returns."""
        self._file.write("".join(f"{word} {one}\n" for one in ids))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass
class Told:
    """Ids by what became of them: of events, and of playlists (`served`)."""

    sent: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    served: set[str] = field(default_factory=set)

    @classmethod
    def by(cls, directory: Path) -> "Told":
        """Everything that the ledgers in a directory hold."""
        told = cls()
        words: dict[str, set[str]] = {word: getattr(told, word) for word in get_args(Word)}
        for path in sorted(directory.glob("*.ledger")):
            for line in path.read_text(encoding="ascii").splitlines():
                word, _, one = line.partition(" ")
                words[word].add(one)
        return told
