"""Finds Kafka's log where older versions put it when the data directory had characters like ü in its name.

They wrote `log.dirs` with Python's escapes (`M\\xfcller`). Java knows no `\\x`, leaves the backslash out, and so Kafka
wrote to `Mxfcller`, beside the data directory.
"""

import shlex
from pathlib import Path
from typing import Final

from services.local.errors import LogMisplaced

# The file that Kafka keeps at the top of every directory that it has formatted.
_KAFKAS: Final = "meta.properties"
CLUSTER_ID: Final = "cluster-id"
_CONTROLS: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def misplaced_log(log_dir: Path) -> Path | None:
    """The log that an earlier version wrote for `log_dir` elsewhere; None where there is none."""
    written = str(log_dir).replace("\\", "\\\\").encode("ascii", "backslashreplace").decode("ascii")
    read = Path(_as_java_reads(written))
    return read if read != log_dir and _is_ours(read, log_dir.parent / CLUSTER_ID) else None


def _is_ours(log: Path, cluster_id: Path) -> bool:
    """Another data directory may really have that name: only the id of the cluster tells whose log it is."""
    try:
        noted = (log / _KAFKAS).read_text(encoding="utf-8").splitlines()
        return f"cluster.id={cluster_id.read_text(encoding='utf-8').strip()}" in noted
    except (OSError, ValueError):
        return False


def refuse_misplaced_log(log_dir: Path) -> None:
    """Raise LogMisplaced, which says how to move it, where an earlier log lies elsewhere and none lies in `log_dir`."""
    found = misplaced_log(log_dir)
    if found is not None and not (log_dir / _KAFKAS).is_file():
        raise LogMisplaced(
            f"Kafka's log lies in {found}, outside the data directory: an earlier version of AniMusic misspelled the "
            f"directory's name to Java. Everything that was recorded is there. Move it, and start again: "
            f"mkdir -p {shlex.quote(str(log_dir.parent))} && mv {shlex.quote(str(found))} {shlex.quote(str(log_dir))}"
        )


def leftover_sentence(log_dir: Path) -> str | None:
    """What to say where `log_dir` holds a log and a misplaced one is there, too; None where there is nothing to say."""
    found = misplaced_log(log_dir)
    if found is None:
        return None
    return (
        f"{found} holds another log of Kafka, which an earlier version of AniMusic wrote outside the data directory; "
        f"{log_dir} is used. If you moved that log by copying it, remove the old one."
    )


def _as_java_reads(text: str) -> str:
    """The value that java.util.Properties loads: a backslash before a letter that it does not know is left out."""
    read: list[str] = []
    characters = iter(text)
    for character in characters:
        escaped = next(characters, "") if character == "\\" else None
        if escaped == "u":
            read.append(chr(int("".join(next(characters) for _ in range(4)), 16)))
        else:
            read.append(character if escaped is None else _CONTROLS.get(escaped, escaped))
    return "".join(read)
