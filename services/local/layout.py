"""Where things lie in a data directory."""

from dataclasses import dataclass
from pathlib import Path

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
