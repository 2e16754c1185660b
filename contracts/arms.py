"""The arms: the sources that pick songs for a listener.

An arm's code is part of every stored first exposure, so codes are never reused. A new arm takes the next number.
"""

from typing import Final

ARM_CODES: Final[dict[str, int]] = {
    "mpnet": 1,
    "minilm": 2,
    "node2vec": 3,
    "tfidf": 4,
    "popular": 5,
    "random": 6,
}
ARMS: Final[tuple[str, ...]] = tuple(ARM_CODES)
ARM_OF_CODE: Final[dict[int, str]] = {code: arm for arm, code in ARM_CODES.items()}

# Arms that query a vector collection of their own name.
CONTENT_ARMS: Final[tuple[str, ...]] = ("mpnet", "minilm", "node2vec", "tfidf")

# The paper's slot order: content models first, the random arm last.
PAPER_ORDER: Final[tuple[str, ...]] = ("mpnet", "minilm", "node2vec", "tfidf", "popular", "random")

_SPELLINGS: Final[dict[str, str]] = {
    "mpnet": "mpnet",
    "allmpnetbasev2": "mpnet",
    "minilm": "minilm",
    "allminilml6v2": "minilm",
    "node2vec": "node2vec",
    "tfidf": "tfidf",
    "popular": "popular",
    "popularity": "popular",
    "random": "random",
}


def arm_named(spelling: str) -> str | None:
    """The arm of a spelling, ours or the paper's ("TF-IDF", "popularity"); None for an unknown one."""
    return _SPELLINGS.get("".join(c for c in spelling.lower() if c.isalnum()))
