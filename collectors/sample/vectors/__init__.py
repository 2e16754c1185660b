"""The sample's vectors by the paper's sentence models: no machine needs an encoder to serve it (see README.md)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

# Arm -> file of `animusic models export`.
SHIPPED: Final[Mapping[str, Path]] = {arm: Path(__file__).with_name(f"{arm}.parquet") for arm in ("minilm", "mpnet")}
