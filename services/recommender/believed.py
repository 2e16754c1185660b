"""What the system believes about a listener, for themselves to read."""

from contracts.http import AnimeStanding, HeardSong, ProfileAnswer
from contracts.registers import SERVED, SERVED_SLICES
from services.recommender.catalogue import Catalogue
from services.recommender.listeners import Listener
from services.recommender.profile import Profile

_PPM = 1_000_000


def believed(profile: Profile, listener: Listener, catalogue: Catalogue, now: int) -> ProfileAnswer:
    """The whole profile; what was started last comes first. Songs and anime of no catalogue have no title."""
    standing = listener.standing
    songs = listener.derived.songs
    heard = [_heard(song_id, songs[song_id], listener, catalogue) for song_id in standing.heard]
    return ProfileAnswer(
        user_id=profile.user_id,
        heard=sorted(heard, key=lambda song: (-(song.started_at or 0), song.song_id)),
        liked=sorted(standing.liked),
        favoured=sorted(standing.favoured),
        vetoed=sorted(standing.vetoed),
        out_of_favour=[_anime(each, listener, catalogue) for each in sorted(standing.out_of_favour)],
        anime_list=list(profile.anime_list),
        marks=dict(profile.marks),
        digest=profile.digest,
        generation=profile.generation,
        server_time=now,
    )


def _heard(song_id: str, packed: bytes, listener: Listener, catalogue: Catalogue) -> HeardSong:
    registers = {each.name: each.decode(packed[SERVED_SLICES[each.name]]) for each in SERVED}
    watched, started = registers["watched"], registers["started"]
    row = catalogue.row_of.get(song_id)
    entry = None if row is None else catalogue.entries[row]
    return HeardSong(
        song_id=song_id,
        title=entry.title if entry else None,
        anime=entry.anime[0].title if entry else None,
        watch_seconds=watched["watch_ms"] / 1000 if watched else 0.0,
        progress=watched["ppm"] / _PPM if watched else 0.0,
        liked=song_id in listener.standing.liked,
        favoured=song_id in listener.favoured,
        started_at=started["occurred_at"] if started else None,
        settled=registers["settled"] is not None,
    )


def _anime(anime_id: str, listener: Listener, catalogue: Catalogue) -> AnimeStanding:
    row = catalogue.anime_row_of.get(anime_id)
    return AnimeStanding(
        anime_id=anime_id,
        title=None if row is None else catalogue.anime[row].title,
        favourability=listener.standing.favourability[anime_id],
    )
