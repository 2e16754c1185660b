"""What a backup holds beside the log, because not every machine can rebuild it from the log.

DIR/beside.json                        what there is, and which signing key the log's tokens were signed with
DIR/vectors/<arm>-<revision>.sqlite    the vectors of a live sentence model: only a machine with an encoder makes them

The key itself is never in a backup: `beside.json` has four bytes of its digest, enough to notice another key
in its place.
"""

import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.models import LiveModel
from model_jobs.neural.cache import EmbeddingCache
from services.operator.backup.files import damage
from services.operator.backup.manifest import digest_of, sync_directory, write_model

EXTRAS: Final = "beside.json"
VECTORS: Final = "vectors"
_MADE_BY_ENCODERS: Final = "revision"


class VectorsFile(BaseModel):
    """The vectors of one revision of a sentence model. `content`: their digest (EmbeddingCache.content_digest)."""

    model_config = ConfigDict(extra="forbid")

    arm: str
    revision: str
    content: str
    bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name, in the backup as in `<data_dir>/embeddings`."""
        return f"{self.arm}-{self.revision}.sqlite"


class Extras(BaseModel):
    """`key`: 8 hex digits that tell signing keys apart; "" where the machine of the backup had none."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    key: str = ""
    vectors: list[VectorsFile] = []


def key_digest(key: bytes) -> str:
    """8 hex digits of a signing key's digest: enough to tell two keys apart, too few to recover one."""
    return blake2b(key, digest_size=4, person=b"animusic-key").hexdigest()


def read_extras(directory: Path) -> Extras:
    """The extras of a backup; empty where an older version made it. Raises ValueError."""
    path = directory / EXTRAS
    try:
        return Extras.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Extras()
    except ValidationError as error:
        raise ValueError(f"{path} cannot be read by this version ({error.errors()[0]['msg']})") from error


def save_vectors(directory: Path, embeddings_dir: Path, live: Mapping[str, LiveModel], key: str) -> list[str]:
    """Copy changed vectors of live sentence models from this machine; returns the arms whose vectors are missing.

    Raises OSError, and RuntimeError for a damaged file.
    """
    before = {file.name: file for file in read_extras(directory).vectors}
    found, missing = [], []
    for arm, record in sorted(live.items()):
        if _MADE_BY_ENCODERS not in record.params:
            continue
        cache = EmbeddingCache(embeddings_dir, arm, record.params[_MADE_BY_ENCODERS])
        if cache.path.is_file():
            found.append(_copied_vectors(directory, cache, arm, record.params[_MADE_BY_ENCODERS], before))
        elif cache.path.name in before:
            found.append(before[cache.path.name])
        else:
            missing.append(arm)
    write_model(directory / EXTRAS, Extras(key=key, vectors=found))
    for path in (directory / VECTORS).glob("*.sqlite"):
        if path.name not in {file.name for file in found}:
            path.unlink()
    return missing


def check_extras(directory: Path) -> None:
    """Raise ValueError with the names of damaged files."""
    files = {directory / VECTORS / file.name: file for file in read_extras(directory).vectors}
    found = {path: damage(path, file.bytes, file.sha256) for path, file in files.items()}
    if wrong := [f"{path} ({trouble})" for path, trouble in found.items() if trouble]:
        raise ValueError(
            f"damaged, so nothing was written: {'; '.join(wrong)}. Copy them from another copy of this backup, "
            f"or remove {directory / EXTRAS} to restore the log alone"
        )


def restore_vectors(directory: Path, embeddings_dir: Path) -> list[str]:
    """Copy the vectors to where builds find them; returns the arms. Existing files stay."""
    arms = []
    for file in read_extras(directory).vectors:
        target = embeddings_dir / file.name
        if not target.exists():
            embeddings_dir.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{file.name}.partial")
            shutil.copyfile(directory / VECTORS / file.name, partial)
            partial.replace(target)
        arms.append(file.arm)
    return arms


def _copied_vectors(
    directory: Path, cache: EmbeddingCache, arm: str, revision: str, before: Mapping[str, VectorsFile]
) -> VectorsFile:
    target, content = directory / VECTORS / cache.path.name, cache.content_digest()
    known = before.get(cache.path.name)
    if known is not None and known.content == content and target.is_file():
        return known
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    with closing(sqlite3.connect(cache.path)) as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)
        # Without the write-ahead log, one file is the whole database.
        copy.execute("PRAGMA journal_mode = DELETE")
    partial.replace(target)
    sync_directory(target.parent)
    size = target.stat().st_size
    return VectorsFile(arm=arm, revision=revision, content=content, bytes=size, sha256=digest_of(target))
