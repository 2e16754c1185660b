"""The graph of songs and what they share: typed nodes, so that a singer and a tag of one name stay two.

Nodes: `song:…`, `anime:…`, `artist:…`, `composer:…`, `arranger:…`, `lyricist:…`, `tag:…`, `genre:…`. Every edge has one
end at a song, but for genres, which belong to the anime (to the song, where anime are no nodes). An edge weighs what
its kind does: the kind of its end that is not the song, or that is not the anime.

Views are no edge weights. A view count is a property of one song, not of a song and something else: as the weight of
the edges at a song it would only send more walks to popular songs, draw all vectors towards them, and make node2vec a
second `popular` arm, which is in the playlist already. Nor do known counts and unknown ones (two in five; in some
files nineteen in twenty) fit on one scale.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, get_args

from contracts.catalogue import Song, normalised
from services.common.settings import NodeKind

if TYPE_CHECKING:
    import networkx

Kind = NodeKind
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_ROLES: Final[tuple[tuple[Kind, str], ...]] = (
    ("artist", "vocals"), ("composer", "composition"), ("arranger", "arrangement"), ("lyricist", "lyrics"),
)  # fmt: skip


def song_node(song_id: str) -> str:
    """The name of a song's node."""
    return f"song:{song_id}"


def song_graph(
    songs: Sequence[Song], kinds: Collection[Kind] = KINDS, weights: Mapping[Kind, float] | None = None
) -> "networkx.Graph":
    """The graph of a catalogue with nodes of these kinds beside the songs; an edge whose kind has no weight weighs 1.

    The same songs in the same order give the same nodes in the same order. A song without an edge is not in it.
    """
    # Imported here: a command that finds the model up to date needs no graph.
    import networkx

    of_kind = dict.fromkeys(KINDS, 1.0) | dict(weights or {})
    spelled = cache(normalised)
    graph = networkx.Graph()
    for song in songs:
        graph.add_weighted_edges_from(
            (here, f"{kind}:{there}", of_kind[kind]) for here, kind, there in edges_of(song, kinds, spelled)
        )
    return graph


def edges_of(
    song: Song, kinds: Collection[Kind] = KINDS, spelled: Callable[[str], str] = normalised
) -> Iterator[tuple[str, Kind, str]]:
    """All that a song adds to the graph: (node, kind of its neighbour, name of its neighbour), some more than once."""
    for here, kind, name in _named(song, kinds):
        yield here, kind, name if kind == "anime" else spelled(name)


def _named(song: Song, kinds: Collection[Kind]) -> Iterator[tuple[str, Kind, str]]:
    """The edges, with names as they are written."""
    node = song_node(song.song_id)
    for appearance in song.appearances:
        anime = appearance.anime
        if "anime" in kinds:
            yield node, "anime", anime.anime_id
        if "genre" in kinds:
            owner = f"anime:{anime.anime_id}" if "anime" in kinds else node
            yield from ((owner, "genre", genre) for genre in anime.genres)
    for kind, role in _ROLES:
        if kind in kinds:
            yield from ((node, kind, name) for name in getattr(song.credits, role))
    if "tag" in kinds:
        yield from ((node, "tag", tag) for tag in song.tags)
