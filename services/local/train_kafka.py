"""`python -m services.local.train_kafka [JARS_DIR]`: make the class archive that lets Kafka start in half the time.

A command of its own, so that a start of the system need not wait for it and a stop can end it.
"""

import os
import sys
from pathlib import Path

from services.local.engines.java import find_java
from services.local.engines.kafka_archive import ensure_archive
from services.local.engines.kafka_jars import default_cache_dir, kafka_jars


def main() -> None:
    """Train once; done at once when the archive is there or could not be made before."""
    os.nice(10)
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    ensure_archive(kafka_jars(default_cache_dir(), jars_dir=given), find_java())


if __name__ == "__main__":
    main()
