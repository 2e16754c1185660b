"""A model by its name on a hub: the copy that this machine keeps, else a download that gives up soon."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

# Two tries at reaching the hub; a download that has begun may take as long as it moves.
TIMEOUT_S: Final = 5.0


def where_it_is_set(arm: str) -> str:
    """How a person says which copy of a model an arm takes."""
    return f'ANIMUSIC_MODELS__NEURAL=\'{{"{arm}": "/path/to/copy"}}\''


def check_installed(arm: str) -> None:
    """Raise RuntimeError with what to do unless the extra `neural` is installed. Loads nothing."""
    if find_spec("sentence_transformers") is None:
        raise RuntimeError(
            f"{arm} is not built, and what is live stays: this environment has no sentence-transformers; `make neural` "
            "(or pip install 'animusic[neural]') installs it, and `animusic models import FILE` takes vectors that "
            "another machine has exported"
        )


def hub_copy(arm: str, name: str, patterns: Sequence[str]) -> Path:
    """The directory of a model's files: kept from before (no network is asked then), else fetched.

    Raises RuntimeError with what to do.
    """
    check_installed(arm)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns), local_files_only=True))
    except LocalEntryNotFoundError:
        return _fetched(arm, name, patterns)
    except HFValidationError:
        raise _cannot(arm, name, "that is neither a directory nor a model's name") from None


def _fetched(arm: str, name: str, patterns: Sequence[str]) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        # Asked first, because a download's own retries take minutes where there is no network.
        HfApi().model_info(name, timeout=TIMEOUT_S)
        return Path(snapshot_download(name, allow_patterns=list(patterns), etag_timeout=TIMEOUT_S))
    except RepositoryNotFoundError as error:
        raise _cannot(arm, name, "the hub has no public model of that name") from error
    except Exception as error:
        # The hub's client lets errors of several HTTP libraries through.
        why = f"no copy of it is here while the hub does not answer ({type(error).__name__})"
        raise _cannot(arm, name, why) from error


def _cannot(arm: str, name: str, why: str) -> RuntimeError:
    return RuntimeError(
        f"{arm} is not built, and what is live stays: it needs the model {name}, but {why}; connect once and run this "
        f"again, or name the directory of a copy: {where_it_is_set(arm)}"
    )
