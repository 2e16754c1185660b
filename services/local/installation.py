"""The name of an installation: made once for a data directory, told to every child, named by every /readyz."""

import uuid

from services.local.layout import Layout


def installation_of(layout: Layout) -> str:
    """The name in the data directory; made when there is none. Whoever makes it holds the directory (claim.claimed)."""
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
