"""Fetch Apache Kafka's jars once, check each against a pinned sha256, and keep them for every later start.

`kafka-4.3.1.lock` names every jar by its Maven coordinates and its sha256; jgo (a Maven client in Python) fetches
them, so no Maven is needed. Only jars that match the pins ever reach the class path: they are gathered in a
scratch directory and renamed into place together, so a killed download leaves nothing half there.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from services.local.errors import JarsMissing

KAFKA_VERSION = "4.3.1"
STAMP = "class-path.json"
LOCK_FILE = Path(__file__).with_name(f"kafka-{KAFKA_VERSION}.lock")
PARALLEL_DOWNLOADS = 6

Progress = Callable[[int, int, str], None]
"""Called with (jars done, jars in all, name of the last one)."""


@dataclass(frozen=True)
class KafkaJars:
    """A directory of jars, and those of them that make Kafka's class path, in order."""

    directory: Path
    names: tuple[str, ...]

    @property
    def class_path(self) -> str:
        """For `java -cp`: absolute paths in a fixed order."""
        return os.pathsep.join(str(self.directory / name) for name in self.names)


@dataclass(frozen=True)
class PinnedJar:
    """One line of the lock file."""

    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def name(self) -> str:
        """The file's name, in the cache and in a Maven repository."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def repository_path(self) -> Path:
        """Where a local Maven repository keeps it."""
        return Path(*self.group.split("."), self.artifact, self.version, self.name)


def default_cache_dir() -> Path:
    """$XDG_CACHE_HOME/animusic, else ~/.cache/animusic: one per user, shared by every data directory."""
    base = os.environ.get("XDG_CACHE_HOME")
    return ((Path(base) if base else Path.home() / ".cache") / "animusic").absolute()


def kafka_jars(cache_dir: Path, *, jars_dir: Path | None = None, progress: Progress | None = None) -> KafkaJars:
    """Kafka's jars, fetched into `cache_dir` unless they are there already; `jars_dir` (ready jars) goes first.

    Several processes may call it at once: one fetches, the others wait. Raises JarsMissing with what to do.
    """
    if jars_dir is not None:
        return _ready_jars(jars_dir)
    home = cache_dir.absolute() / f"kafka-{KAFKA_VERSION}"
    found = _stamped(home)
    if found is not None:
        return found
    cache_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(cache_dir / f"kafka-{KAFKA_VERSION}.busy"):
        return _stamped(home) or _fetch(home, progress or (lambda done, total, name: None))


def pinned_jars() -> tuple[PinnedJar, ...]:
    """The lock file's jars, in its order."""
    return tuple(_pins())


def _pins() -> Iterator[PinnedJar]:
    for line in LOCK_FILE.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            sha256, coordinates = line.split()
            yield PinnedJar(sha256, *coordinates.split(":"))


def _ready_jars(directory: Path) -> KafkaJars:
    names = tuple(sorted(path.name for path in directory.glob("*.jar")))
    if not any(name.startswith("kafka_2.") for name in names):
        raise JarsMissing(
            f"ANIMUSIC_LOCAL__KAFKA_JARS_DIR is {directory}, which holds no kafka_2.13-*.jar. Point it at the libs/ "
            f"folder of an unpacked Apache Kafka {KAFKA_VERSION}, or unset it to have the jars fetched."
        )
    return KafkaJars(directory.absolute(), names)


def _stamped(home: Path) -> KafkaJars | None:
    """The jars of an earlier fetch; None when there was none, when a file is gone, or when the pins changed.

    Sizes are compared, not sums: a start must not read 44 MB. The sums were checked when the jars came.
    """
    try:
        stamp: dict[str, dict[str, object]] = json.loads((home / STAMP).read_text(encoding="utf-8"))
        whole = all((home / name).stat().st_size == entry["size"] for name, entry in stamp.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not whole or {name: entry.get("sha256") for name, entry in stamp.items()} != _sums_by_name():
        return None
    return KafkaJars(home, tuple(stamp))


def _sums_by_name() -> dict[str, str]:
    return {jar.name: jar.sha256 for jar in _pins()}


def _fetch(home: Path, progress: Progress) -> KafkaJars:
    for killed_before in home.parent.glob(f"{home.name}-*.part"):
        shutil.rmtree(killed_before, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{home.name}-", suffix=".part", dir=home.parent))
    try:
        _fetch_all(scratch, progress)
        shutil.rmtree(home, ignore_errors=True)
        (scratch / "jars").rename(home)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    found = _stamped(home)
    if found is None:
        raise JarsMissing(f"Kafka's jars came, but {home} does not keep them. Is its disk full or read-only?")
    return found


def _fetch_all(scratch: Path, progress: Progress) -> None:
    pins = pinned_jars()
    (scratch / "jars").mkdir()
    with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
        jobs = {pool.submit(_fetch_one, jar, scratch): jar for jar in pins}
        for done, job in enumerate(as_completed(jobs), start=1):
            jar = jobs[job]
            try:
                job.result()
            except Exception as error:
                pool.shutdown(wait=False, cancel_futures=True)
                raise JarsMissing(_advice(jar, error)) from error
            progress(done, len(pins), jar.name)
    stamp = {jar.name: {"sha256": jar.sha256, "size": (scratch / "jars" / jar.name).stat().st_size} for jar in pins}
    (scratch / "jars" / STAMP).write_text(json.dumps(stamp, indent=1), encoding="utf-8")


def _fetch_one(jar: PinnedJar, scratch: Path) -> None:
    target = scratch / "jars" / jar.name
    at_home = _user_repository() / jar.repository_path
    if at_home.is_file() and _sha256(at_home) == jar.sha256:
        shutil.copyfile(at_home, target)
        return
    fetched = _download(jar, scratch / "repository")
    actual = _sha256(fetched)
    if actual != jar.sha256:
        raise ValueError(f"its sha256 is {actual}, not the pinned {jar.sha256}")
    fetched.rename(target)


def _download(jar: PinnedJar, repository: Path) -> Path:
    """Through jgo, from the repositories of the user's jgo settings and Maven Central."""
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=repository, timeout=30)
    context.remote_repos = {**GlobalSettings.load().repositories, **context.remote_repos}
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    return Path(artifact.resolve())


def _user_repository() -> Path:
    return Path(os.environ.get("M2_REPO") or Path.home() / ".m2" / "repository")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _advice(jar: PinnedJar, error: Exception) -> str:
    coordinates = f"{jar.group}:{jar.artifact}:{jar.version}"
    return (
        f"Kafka's jar {coordinates} could not be fetched: {error}. Check the network and the proxy variables and run "
        "it again. Behind a mirror: name it under [repositories] in ~/.jgorc, or let Maven, which obeys "
        f"~/.m2/settings.xml, fetch it (mvn dependency:get -Dartifact={coordinates}): jars in ~/.m2/repository are "
        f"used. Without a network: set ANIMUSIC_LOCAL__KAFKA_JARS_DIR to the libs/ folder of Apache Kafka "
        f"{KAFKA_VERSION}."
    )
