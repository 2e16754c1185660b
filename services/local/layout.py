"""A data directory: where things lie in it, its small JSON files, and the name of its installation."""

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.common.settings import ENDPOINTS_FILE


@dataclass(frozen=True)
class Layout:
    """The paths of one data directory; `root` is absolute."""

    root: Path

    @classmethod
    def of(cls, data_dir: Path) -> "Layout":
        """The layout of a data directory, made if it is not there. Raises OSError when it cannot be."""
        root = data_dir.absolute()
        for directory in (root, root / "run" / "pids", root / "run" / "ports", root / "logs"):
            directory.mkdir(parents=True, exist_ok=True)
        return cls(root)

    @property
    def run(self) -> Path:
        """What holds only while the system runs, and what a next start takes up again (ports)."""
        return self.root / "run"

    @property
    def lock(self) -> Path:
        """Held by the one supervisor of this directory."""
        return self.run / "lock"

    @property
    def pids(self) -> Path:
        """One file a child, so that a next start finds what this one could not stop."""
        return self.run / "pids"

    @property
    def status(self) -> Path:
        """What runs now, for people and for other commands."""
        return self.run / "status.json"

    @property
    def endpoints(self) -> Path:
        """Addresses in the shape of the settings tree; every command reads them behind its environment."""
        return self.root / ENDPOINTS_FILE

    @property
    def contents(self) -> Path:
        """Which catalogue was loaded, and from which state of it the models were built."""
        return self.root / "contents.json"

    @property
    def installation(self) -> Path:
        """The name of this installation."""
        return self.root / "installation"

    def log(self, name: str) -> Path:
        """The log of a child."""
        return self.root / "logs" / f"{name}.log"

    def pidfile(self, name: str) -> Path:
        """The pidfile of a child."""
        return self.pids / f"{name}.pid"

    def port(self, name: str) -> Path:
        """The file that keeps a part's port from one start to the next."""
        return self.run / "ports" / name


def installation_of(layout: Layout) -> str:
    """The id of an installation: every child gets it, every /readyz names it.

    Made when there is none. The caller holds the directory (locking.locked).
    """
    path = layout.installation
    try:
        if name := path.read_text(encoding="utf-8").strip():
            return name
    except FileNotFoundError:
        pass
    name = uuid.uuid4().hex
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(f"{name}\n", encoding="utf-8")
    partial.replace(path)
    return name


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace `path` in one step: a reader sees the old content or the new, never a half."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The content; empty when the file is not there or cannot be read as JSON."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
