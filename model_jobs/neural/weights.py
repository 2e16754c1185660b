"""A sentence model's files on this machine, and the revision that tells it apart from every other model.

The revision is a digest of what encoding depends on: weights, tokenizer and configuration. The same model has the same
revision under any path, from a hub or from a copy. Weights are read as safetensors only: pickles run code.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from model_jobs.neural.hub import hub_copy, where_it_is_set

# sha256 of the weights -> their well-known name, so that a copy in any directory has it, too.
_KNOWN: Final = {
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db": "sentence-transformers/all-MiniLM-L6-v2",
    "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658": "sentence-transformers/all-mpnet-base-v2",
}
_MODULES: Final = "modules.json"
_WEIGHTS: Final = "*.safetensors"
# What sentence-transformers reads beside the weights; a model has some of them.
_READ: Final = (
    _MODULES, "config.json", "config_sentence_transformers.json", "sentence_bert_config.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt",
    "sentencepiece.bpe.model", "spiece.model",
)  # fmt: skip
PATTERNS: Final = (*_READ, _WEIGHTS, *(f"*/{name}" for name in _READ), f"*/{_WEIGHTS}")
# Who saved a configuration last, and from where, changes no vector.
_OF_THE_SAVER: Final = ("__version__", "transformers_version", "_name_or_path", "name_or_path", "torch_dtype", "dtype")


@dataclass(frozen=True)
class Weights:
    """One model on this machine: its directory, a name for people, and its revision of 32 hex digits."""

    directory: Path
    name: str
    revision: str


def find_weights(arm: str, name_or_path: str) -> Weights:
    """The files of a model: a directory, else a hub's name (a kept copy first, else a download).

    Raises RuntimeError with what to do where there is neither, ValueError where the directory is no such model.
    """
    local = Path(name_or_path).expanduser()
    if local.is_dir():
        return _identified(local, None)
    if local.is_absolute() or name_or_path.startswith((".", "~")):
        raise ValueError(f"there is no directory {name_or_path} for {arm}: {where_it_is_set(arm)} names it")
    return _identified(hub_copy(arm, name_or_path, PATTERNS), name_or_path)


def _identified(directory: Path, hub_name: str | None) -> Weights:
    files = sorted(_files(directory), key=lambda path: path.relative_to(directory).as_posix())
    digests = {path.relative_to(directory).as_posix(): _digest(path) for path in files}
    weights = [digest for name, digest in digests.items() if name.endswith(".safetensors")]
    if not weights:
        raise ValueError(f"{directory} has no weights as safetensors; AniMusic loads no others, for pickles run code")
    revision = hashlib.blake2b(json.dumps(digests).encode(), digest_size=16).hexdigest()
    return Weights(directory, hub_name or _KNOWN.get(weights[0]) or _described(directory), revision)


def _files(directory: Path) -> Iterator[Path]:
    """The files that encoding depends on, in the directory of each module of the model."""
    try:
        modules = json.loads((directory / _MODULES).read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{directory} is no sentence-transformers model: it has no {_MODULES}") from None
    for folder in sorted({directory / module["path"] for module in modules} | {directory}):
        yield from (folder / name for name in _READ if (folder / name).is_file())
        yield from folder.glob(_WEIGHTS)


def _digest(path: Path) -> str:
    if path.suffix == ".json":
        content = json.dumps(_lasting(json.loads(path.read_bytes())), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lasting(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    return {name: value for name, value in content.items() if name not in _OF_THE_SAVER}


def _described(directory: Path) -> str:
    """A name for weights that have none, the same under any path: say `bert 384x6`."""
    path = directory / "config.json"
    config = json.loads(path.read_bytes()) if path.is_file() else {}
    shape = f"{config.get('hidden_size', '?')}x{config.get('num_hidden_layers', '?')}"
    return f"{config.get('model_type', 'sentence model')} {shape}"
