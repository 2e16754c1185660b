"""Builds answers from served playlists and profiles: titles, links, reasons, signed slot tokens."""

from collections.abc import Callable
from typing import Final

from contracts.http import AnimeFavourability, Because, HeardSong, PlaylistAnswer, PlaylistSlot, ProfileAnswer, Stale
from contracts.playlists import ServedPlaylist, ServedSlot
from contracts.registers import SERVED, SERVED_SLICES
from contracts.tokens import SignedSlot, Signer
from services.profiles.reader import StoredProfile
from services.recommender.catalogue import Catalogue, Rows
from services.recommender.catalogue_song import CatalogueSong
from services.recommender.models import BoundModel
from services.recommender.profile_vectors import ProfileVectors
from services.recommender.profile_views import ProfileView
from services.recommender.snapshots import CatalogueSnapshot


class Answering:
    """Builds answers. A resumed playlist gets tokens of its original time, so that its events still count."""

    def __init__(self, signer: Signer, vectors: ProfileVectors, clock: Callable[[], int]) -> None:
        self._signer = signer
        self._vectors = vectors
        self._clock = clock

    def answer(
        self, playlist: ServedPlaylist, snapshot: CatalogueSnapshot, view: ProfileView, stale: Stale | None = None
    ) -> PlaylistAnswer:
        """The answer for the playlist's listener; a song that has left the catalogue is shown by its id."""
        return PlaylistAnswer(
            playlist_id=playlist.playlist_id,
            revision=playlist.revision,
            slots=[self._slot(playlist, slot, snapshot, view) for slot in playlist.slots],
            reflects=playlist.reflects,
            fresh=playlist.fresh,
            cold=playlist.cold,
            left_out=playlist.left_out,
            server_time=self._clock(),
            stale=stale,
        )

    def _slot(
        self, playlist: ServedPlaylist, slot: ServedSlot, snapshot: CatalogueSnapshot, view: ProfileView
    ) -> PlaylistSlot:
        entry = snapshot.catalogue.find(slot.song_id)
        return PlaylistSlot(
            slot=slot.slot,
            song_id=slot.song_id,
            title=entry.title if entry else slot.song_id,
            anime=entry.anime[0].title if entry else slot.anime_id,
            anime_id=slot.anime_id,
            arm=slot.arm,
            url=entry.url if entry else "",
            youtube_id=entry.youtube_id if entry else None,
            slot_token=self._token(playlist, slot),
            probability=slot.p_arm * slot.p_song,
            score=slot.score,
            why=self._why(slot, snapshot, view),
        )

    def _token(self, playlist: ServedPlaylist, slot: ServedSlot) -> str:
        signed_slot = SignedSlot(
            playlist_id=playlist.playlist_id,
            revision=playlist.revision,
            slot=slot.slot,
            arm=slot.arm,
            p_arm=slot.p_arm,
            p_song=slot.p_song,
            model_version=slot.model_version,
            issued_at=playlist.served_at,
        )
        return self._signer.slot(playlist.user_id, slot.song_id, signed_slot)

    def _why(self, slot: ServedSlot, snapshot: CatalogueSnapshot, view: ProfileView) -> list[Because]:
        bound = snapshot.models.get(slot.arm)
        if bound is None or not view.favoured:
            return []
        favoured = self._vectors.favoured_rows(view.profile.user_id, bound.model, view.favoured)
        return because(snapshot.catalogue, bound, slot.song_id, favoured)


REASONS: Final = 3
SHARED: Final = 5


def because(catalogue: Catalogue, bound: BoundModel, song_id: str, favoured: Rows) -> list[Because]:
    """Up to REASONS favoured songs, the largest contributors first; none for a song without a vector.

    A listener's vector is a mean, so its product with a song is a sum over the favoured songs. A song's contribution is
    its term of that sum. `favoured`: rows of the model.
    """
    picked, row = catalogue.find(song_id), bound.model.row_of.get(song_id)
    if picked is None or row is None:
        return []
    # A kept slot may hold a song that was liked since; a song must not be its own reason.
    favoured = favoured[favoured != row]
    if not len(favoured):
        return []
    top_contributors = bound.catalogue_rows[bound.model.top_contributors(row, favoured, REASONS)]
    return [_because(catalogue.songs[at], picked) for at in top_contributors.tolist() if at >= 0]


def _because(favoured: CatalogueSong, picked: CatalogueSong) -> Because:
    return Because(
        song_id=favoured.song_id,
        title=favoured.title,
        anime=favoured.anime[0].title,
        shares=shared(favoured, picked),
    )


def shared(one: CatalogueSong, other: CatalogueSong) -> list[str]:
    """Credits in the same role, then tags, that two songs have in common; at most SHARED."""
    theirs = set(other.traits)
    return [trait for trait in one.traits if trait in theirs][:SHARED]


_PPM = 1_000_000


def profile_answer(profile: StoredProfile, view: ProfileView, catalogue: Catalogue, now: int) -> ProfileAnswer:
    """The whole profile, the song that was started last first. Songs and anime outside the catalogue have no title."""
    listener_state = view.listener_state
    songs = view.derived.songs
    heard = [_heard(song_id, songs[song_id], view, catalogue) for song_id in listener_state.heard]
    return ProfileAnswer(
        user_id=profile.user_id,
        heard=sorted(heard, key=lambda song: (-(song.started_at or 0), song.song_id)),
        liked=sorted(listener_state.liked),
        favoured=sorted(listener_state.favoured),
        vetoed=sorted(listener_state.vetoed),
        blacklisted=[_anime(each, view, catalogue) for each in sorted(listener_state.blacklisted)],
        anime_list=list(profile.anime_list),
        marks=dict(profile.marks),
        digest=profile.digest,
        generation=profile.generation,
        server_time=now,
    )


def _heard(song_id: str, packed: bytes, view: ProfileView, catalogue: Catalogue) -> HeardSong:
    registers = {each.name: each.decode(packed[SERVED_SLICES[each.name]]) for each in SERVED}
    watched, started = registers["watched"], registers["started"]
    row = catalogue.row_of.get(song_id)
    entry = None if row is None else catalogue.songs[row]
    return HeardSong(
        song_id=song_id,
        title=entry.title if entry else None,
        anime=entry.anime[0].title if entry else None,
        watch_seconds=watched["watch_ms"] / 1000 if watched else 0.0,
        progress=watched["ppm"] / _PPM if watched else 0.0,
        liked=song_id in view.listener_state.liked,
        favoured=song_id in view.favoured,
        started_at=started["occurred_at"] if started else None,
        settled=registers["settled"] is not None,
    )


def _anime(anime_id: str, view: ProfileView, catalogue: Catalogue) -> AnimeFavourability:
    row = catalogue.anime_row_of.get(anime_id)
    return AnimeFavourability(
        anime_id=anime_id,
        title=None if row is None else catalogue.anime[row].title,
        favourability=view.listener_state.favourability[anime_id],
    )
