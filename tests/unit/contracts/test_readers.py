"""Whoever reads the log reads through `contracts.records`: a model alone knows one version of its records."""

import re
from pathlib import Path

from contracts.records import VERSIONS

REPO = Path(__file__).resolve().parents[3]
# These read what they wrote themselves, in files and in Redis, or print schemas.
NOT_THE_LOG = {"services/common/vectors/published.py", "services/profiles/reader.py", "services/cli/schemas.py"}


def _records() -> set[str]:
    """The names of the classes of records."""
    types = [adapter._type for versions in VERSIONS.values() for adapter in versions.adapters.values()]
    return {name.rpartition(".")[2] for kind in types for name in re.findall(r"contracts[.\w]+", repr(kind))}


def test_no_code_reads_records_by_their_model() -> None:
    names = _records()
    assert {"FeedbackEvent", "ServedPlaylist", "Song", "WithdrawnSong", "LiveModel", "ModelBuild", "AnimeList"} <= names
    bypass = re.compile(rf"\b({'|'.join(names)})\.model_validate_json\(|TypeAdapter\(\s*({'|'.join(names)})\b")
    found = {
        path.relative_to(REPO).as_posix()
        for folder in ("services", "collectors", "model_jobs")
        for path in (REPO / folder).rglob("*.py")
        if bypass.search(path.read_text(encoding="utf-8"))
    }
    assert found - NOT_THE_LOG == set()
