"""Why a song: the favoured songs that weighed most in its pick, and what they share with it."""

from typing import Final

from contracts.http import Because
from services.recommender.catalogue import Catalogue, Rows
from services.recommender.entries import Entry
from services.recommender.models import BoundModel

REASONS: Final = 3
SHARED: Final = 5


def because(catalogue: Catalogue, bound: BoundModel, song_id: str, favoured: Rows) -> list[Because]:
    """Up to REASONS favoured songs, the heaviest first; none for a song that the model does not know.

    A listener's vector is a mean, so its product with a song is a sum over the favoured songs; a song's weight is its
    summand. `favoured`: rows of the model.
    """
    picked, row = catalogue.find(song_id), bound.model.row_of.get(song_id)
    if picked is None or row is None:
        return []
    # A kept slot may hold a song that was liked since: it is no reason for itself.
    favoured = favoured[favoured != row]
    if not len(favoured):
        return []
    heaviest = bound.catalogue_rows[bound.model.heaviest(row, favoured, REASONS)]
    return [_because(catalogue.entries[at], picked) for at in heaviest.tolist() if at >= 0]


def _because(favoured: Entry, picked: Entry) -> Because:
    return Because(
        song_id=favoured.song_id,
        title=favoured.title,
        anime=favoured.anime[0].title,
        shares=shared(favoured, picked),
    )


def shared(one: Entry, other: Entry) -> list[str]:
    """Credits in the same role, then tags, that two songs have in common; at most SHARED."""
    theirs = set(other.traits)
    return [trait for trait in one.traits if trait in theirs][:SHARED]
