"""The graph of songs and what they share: typed nodes, so that a singer and a tag of one name stay two.

Nodes: `song:…`, `anime:…`, `artist:…`, `composer:…`, `arranger:…`, `lyricist:…`, `tag:…`, `genre:…`. Every edge has one
end at a song, but for genres, which belong to the anime. All edges weigh 1.

Views are no edge weights. A view count is a property of one song, not of a song and something else: as the weight of
the edges at a song it would only send more walks to popular songs, draw all vectors towards them, and make node2vec a
second `popular` arm, which stands in the playlist already. Nor do known counts and unknown ones (two in five; in some
files nineteen in twenty) fit on one scale.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from contracts.catalogue import Song, normalised

if TYPE_CHECKING:
    import networkx as nx

_ROLES = (("artist", "vocals"), ("composer", "composition"), ("arranger", "arrangement"), ("lyricist", "lyrics"))


def song_graph(songs: Sequence[Song]) -> "nx.Graph":
    """The graph of a catalogue. Every song is in it, with its anime at the least."""
    import networkx as nx

    graph = nx.Graph()
    for song in songs:
        graph.add_edges_from(_edges(song), weight=1.0)
    return graph


def _edges(song: Song) -> Iterator[tuple[str, str]]:
    node = f"song:{song.song_id}"
    for appearance in song.appearances:
        anime = f"anime:{appearance.anime.anime_id}"
        yield node, anime
        for genre in appearance.anime.genres:
            yield anime, f"genre:{normalised(genre)}"
    for kind, role in _ROLES:
        for name in getattr(song.credits, role):
            yield node, f"{kind}:{normalised(name)}"
    for tag in song.tags:
        yield node, f"tag:{normalised(tag)}"


class Csr:
    """A weighted graph as arrays, for walking: the neighbours of node i are `neighbours[starts[i]:starts[i + 1]]`.

    Attributes:
        names: node names by number.
        cumulative: running sum of all edge weights, float64 (edges + 1,); a weighted draw is one binary search in it.
    """

    def __init__(self, graph: "nx.Graph") -> None:
        import networkx as nx

        self.names: list[str] = sorted(graph)
        matrix = nx.to_scipy_sparse_array(graph, nodelist=self.names, weight="weight", format="csr", dtype=np.float64)
        self.starts: NDArray[np.int64] = matrix.indptr.astype(np.int64)
        self.neighbours: NDArray[np.int32] = matrix.indices.astype(np.int32)
        self.cumulative: NDArray[np.float64] = np.concatenate([[0.0], np.cumsum(matrix.data)])

    def walks(self, per_node: int, length: int, rng: np.random.Generator) -> NDArray[np.int32]:
        """First-order weighted random walks: int32 (nodes × per_node, length), each node the start of `per_node`.

        With p = q = 1 node2vec's walk does not look back, so all walks take each step together: the next node of a walk
        at i is the neighbour under a uniform draw from i's stretch of the running sum of weights.
        """
        nodes = len(self.names)
        walks = np.empty((nodes * per_node, length), dtype=np.int32)
        walks[:, 0] = rng.permutation(np.repeat(np.arange(nodes, dtype=np.int32), per_node))
        low, high = self.cumulative[self.starts[:-1]], self.cumulative[self.starts[1:]]
        for step in range(1, length):
            here = walks[:, step - 1]
            drawn = low[here] + rng.random(len(here)) * (high - low)[here]
            edge = np.searchsorted(self.cumulative, drawn, side="right") - 1
            # A draw may round up to the end of the stretch, which belongs to the next node.
            walks[:, step] = self.neighbours[np.minimum(edge, self.starts[here + 1] - 1)]
        return walks
