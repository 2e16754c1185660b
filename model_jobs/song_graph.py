"""The graph of songs and what they share: typed nodes, so that a singer and a tag of one name stay two.

Nodes: `song:…`, `anime:…`, `artist:…`, `composer:…`, `arranger:…`, `lyricist:…`, `tag:…`, `genre:…`. Every edge has one
end at a song, but for genres, which belong to the anime (to the song, where anime are no nodes). An edge weighs what
its kind does: the kind of its end that is not the song, or that is not the anime.

Views are no edge weights. A view count is a property of one song, not of a song and something else: as the weight of
the edges at a song it would only send more walks to popular songs, draw all vectors towards them, and make node2vec a
second `popular` arm, which stands in the playlist already. Nor do known counts and unknown ones (two in five; in some
files nineteen in twenty) fit on one scale.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from contracts.catalogue import Song, normalised
from services.common.settings import NodeKind

Kind = NodeKind
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_ROLES: Final[tuple[tuple[Kind, str], ...]] = (
    ("artist", "vocals"), ("composer", "composition"), ("arranger", "arrangement"), ("lyricist", "lyrics"),
)  # fmt: skip


@dataclass(frozen=True)
class SongGraph:
    """An undirected weighted graph as arrays: node i's neighbours are `neighbours[starts[i]:starts[i + 1]]`, ascending.

    Attributes:
        names: of the nodes, by number; only nodes with an edge are numbered.
        starts: int64 (nodes + 1,).
        neighbours: int32 (2 × edges,): every edge stands at both of its ends.
        weights: float64 (2 × edges,), beside `neighbours`.
    """

    names: list[str]
    starts: NDArray[np.int64]
    neighbours: NDArray[np.int32]
    weights: NDArray[np.float64]

    def neighbours_of(self, name: str) -> dict[str, float]:
        """Name of each neighbour → weight of the edge. Raises ValueError for a node that is not there."""
        number = self.names.index(name)
        stretch = slice(int(self.starts[number]), int(self.starts[number + 1]))
        near = [self.names[neighbour] for neighbour in self.neighbours[stretch].tolist()]
        return dict(zip(near, self.weights[stretch].tolist(), strict=True))


def song_node(song_id: str) -> str:
    """The name of a song's node."""
    return f"song:{song_id}"


def song_graph(
    songs: Sequence[Song], kinds: Collection[Kind] = KINDS, weights: Mapping[Kind, float] | None = None
) -> SongGraph:
    """The graph of a catalogue with nodes of these kinds beside the songs; an edge whose kind has no weight weighs 1.

    The same songs in the same order give the same arrays. A song without an edge is not in it.
    """
    numbers: dict[str, int] = {}
    ends: list[int] = []
    edge_weights: list[float] = []
    of_kind = dict.fromkeys(KINDS, 1.0) | dict(weights or {})
    spelled = cache(normalised)
    for song in songs:
        for here, kind, there in edges_of(song, kinds, spelled):
            ends.append(numbers.setdefault(here, len(numbers)))
            ends.append(numbers.setdefault(f"{kind}:{there}", len(numbers)))
            edge_weights.append(of_kind[kind])
    return _graph(list(numbers), np.array(ends, dtype=np.int64).reshape(-1, 2), np.array(edge_weights))


def graph_of_edges(edges: Sequence[tuple[str, str, float]]) -> SongGraph:
    """A graph of named edges, for whoever has one from elsewhere; of an edge named twice the first weight holds."""
    numbers: dict[str, int] = {}
    ends = [[numbers.setdefault(node, len(numbers)) for node in edge[:2]] for edge in edges]
    return _graph(list(numbers), np.array(ends, dtype=np.int64), np.array([weight for _, _, weight in edges]))


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


def _graph(names: list[str], ends: NDArray[np.int64], weights: NDArray[np.float64]) -> SongGraph:
    """Each edge once, whichever way round and however often it came; then at both of its ends, ordered."""
    nodes = max(1, len(names))
    low, high = ends.min(axis=1, initial=nodes), ends.max(axis=1, initial=0)
    keys, first = np.unique(low * nodes + high, return_index=True)
    both = np.concatenate([keys, keys % nodes * nodes + keys // nodes])
    order = np.argsort(both)
    rows, neighbours = np.divmod(both[order], nodes)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(names)))]).astype(np.int64)
    return SongGraph(names, starts, neighbours.astype(np.int32), np.tile(weights[first], 2)[order])
