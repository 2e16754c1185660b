"""What the page may do: run its own inline script, known by its hash, talk to us alone, and frame YouTube's player."""

import re
from base64 import b64encode
from hashlib import sha256
from typing import Final

_SCRIPT: Final = re.compile(rb"<script(?P<attributes>[^>]*)>(?P<text>.*?)</script>", re.DOTALL | re.IGNORECASE)
_OURS: Final = "'self'"
_FRAMES: Final = "https://www.youtube.com https://www.youtube-nocookie.com"


def script_hashes(html: bytes) -> list[str]:
    """The CSP source of each inline script: the hash of its text, byte for byte as it stands in the file."""
    texts = [found["text"] for found in _SCRIPT.finditer(html) if b"src=" not in found["attributes"].lower()]
    return [f"'sha256-{b64encode(sha256(_as_parsed(text)).digest()).decode()}'" for text in texts]


def content_policy(html: bytes) -> str:
    """The Content-Security-Policy of a self-contained page.

    Styles may be inline, also in attributes, which no hash covers; they can show nothing that is not there.
    """
    scripts = " ".join(script_hashes(html)) or "'none'"
    rules = (
        "default-src 'none'",
        f"script-src {scripts}",
        "style-src 'unsafe-inline'",
        "img-src 'self' data: https://i.ytimg.com",
        "connect-src 'self'",
        f"frame-src {_FRAMES}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return "; ".join(rules)


def docs_policy(html: bytes) -> str:
    """The Content-Security-Policy of /docs: our own files, the script in the page, and requests to us alone."""
    rules = (
        "default-src 'none'",
        f"script-src {' '.join([_OURS, *script_hashes(html)])}",
        f"style-src {_OURS} 'unsafe-inline'",
        f"img-src {_OURS} data:",
        f"connect-src {_OURS}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return "; ".join(rules)


def _as_parsed(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
