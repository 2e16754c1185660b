"""Songs that were shown again and again and never started rest for a while.

Deterministic arms would otherwise bring the same unreached song to every playlist.
"""

from collections.abc import Iterable, Sequence

WINDOW = 40


def resting(playlists: Sequence[Iterable[str]], *, after_shown: int, rest: int) -> frozenset[str]:
    """The songs that the next playlist must not bring.

    A song rests for the `rest` playlists after the one that showed it for the `after_shown`-th time; then it counts
    anew. What a resting song is shown meanwhile (nothing else was left) does not count. A started song is heard and out
    anyway, so starting needs no place here.

    Args:
        playlists: the song ids of the listener's served playlists, oldest first, without withdrawn ones; the newest
            WINDOW count.
    """
    window = playlists[-WINDOW:]
    shown: dict[str, int] = {}
    until: dict[str, int] = {}
    for at, songs in enumerate(window):
        for song in set(songs):
            if until.get(song, 0) > at:
                continue
            shown[song] = shown.get(song, 0) + 1
            if shown[song] >= after_shown:
                shown[song] = 0
                until[song] = at + 1 + rest
    return frozenset(song for song, end in until.items() if end > len(window))
