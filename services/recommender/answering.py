"""From a playlist as served to the answer: titles, links, reasons and signed slot tokens."""

from collections.abc import Callable

from contracts.http import Because, PlaylistAnswer, PlaylistSlot, Stale
from contracts.playlists import ServedPlaylist, ServedSlot
from contracts.tokens import Signer, SlotClaim
from services.recommender.library import World
from services.recommender.listeners import Listener
from services.recommender.profile_vectors import ProfileVectors
from services.recommender.why import because


class Answering:
    """Writes answers. A playlist that is served again gets tokens of its own time, so that its events still count."""

    def __init__(self, signer: Signer, vectors: ProfileVectors, clock: Callable[[], int]) -> None:
        self._signer = signer
        self._vectors = vectors
        self._clock = clock

    def answer(
        self, playlist: ServedPlaylist, world: World, listener: Listener, stale: Stale | None = None
    ) -> PlaylistAnswer:
        """The answer for the playlist's listener; a song that left the catalogue since is shown by its id."""
        return PlaylistAnswer(
            playlist_id=playlist.playlist_id,
            revision=playlist.revision,
            slots=[self._slot(playlist, slot, world, listener) for slot in playlist.slots],
            reflects=playlist.reflects,
            fresh=playlist.fresh,
            cold=playlist.cold,
            left_out=playlist.left_out,
            server_time=self._clock(),
            stale=stale,
        )

    def _slot(self, playlist: ServedPlaylist, slot: ServedSlot, world: World, listener: Listener) -> PlaylistSlot:
        entry = world.catalogue.find(slot.song_id)
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
            why=self._why(slot, world, listener),
        )

    def _token(self, playlist: ServedPlaylist, slot: ServedSlot) -> str:
        claim = SlotClaim(
            playlist_id=playlist.playlist_id,
            revision=playlist.revision,
            slot=slot.slot,
            arm=slot.arm,
            p_arm=slot.p_arm,
            p_song=slot.p_song,
            model_version=slot.model_version,
            issued_at=playlist.served_at,
        )
        return self._signer.slot(playlist.user_id, slot.song_id, claim)

    def _why(self, slot: ServedSlot, world: World, listener: Listener) -> list[Because]:
        bound = world.models.get(slot.arm)
        if bound is None or not listener.favoured:
            return []
        favoured = self._vectors.favoured_rows(listener.profile.user_id, bound.model, listener.favoured)
        return because(world.catalogue, bound, slot.song_id, favoured)
