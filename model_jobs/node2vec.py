"""node2vec: songs that share anime, people and tags lie together.

Walks over the song graph are sentences, nodes are words, skip-gram with negative sampling gives the vectors
(Grover and Leskovec 2016). networkx has the graph, gensim trains; both take seconds to import, so only `build` does.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from contracts.catalogue import Song
from model_jobs.model import Report, Vectors, no_report
from model_jobs.song_graph import KINDS, Kind, edges_of, song_graph, song_node
from model_jobs.walks import Walker
from services.common.settings import Node2VecPreset, Node2VecSettings

# What a preset sets otherwise than the defaults of `Node2Vec`. The original trained for as many epochs as the library
# does that it used, and its graph had these nodes beside the songs.
PRESETS: Final[Mapping[Node2VecPreset, Mapping[str, Any]]] = {
    "default": {},
    "paper": {"dimension": 16, "epochs": 5, "nodes": ("anime", "composer", "tag")},
}


# Walks that are Python objects at one time.
_WALKS_AT_ONCE: Final = 10_000


@dataclass(frozen=True)
class Node2Vec:
    """The defaults follow the original (walk length 10, window 5, p = q = 1), but for 64 dimensions and all nodes.

    Three epochs: with two, genres that were withheld are found less well (decision 26).

    Attributes:
        walks: how many start at each node.
        p: a walk returns at once with a weight of 1/p.
        q: it goes on to what its last node has no edge to with a weight of 1/q. No two neighbours of a node of the song
            graph are neighbours of each other, so what matters is p/q.
        nodes: the kinds of nodes beside songs.
        edge_weights: of the edges of a kind; 1 where it is not named.
        workers: threads that train; only one gives the same vectors every time.
    """

    arm: ClassVar[str] = "node2vec"
    vectors: ClassVar[Literal["dense", "sparse"]] = "dense"
    code_version: ClassVar[int] = 3

    dimension: int = 64
    walk_length: int = 10
    walks: int = 20
    p: float = 1.0
    q: float = 1.0
    window: int = 5
    negative: int = 5
    epochs: int = 3
    workers: int = 1
    seed: int = 1
    nodes: Sequence[Kind] = KINDS
    edge_weights: Mapping[Kind, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError for parameters that no graph can be walked with."""
        unknown = sorted({*self.nodes, *self.edge_weights} - set(KINDS))
        if unknown or not self.nodes:
            raise ValueError(f"node2vec knows the nodes {', '.join(KINDS)}; it was asked for {unknown or 'none'}")
        if min(self.p, self.q, *self.edge_weights.values()) <= 0:
            raise ValueError("node2vec's p and q and the weights of edges must be above 0; leave a kind of node out")

    def params(self) -> dict[str, Any]:
        """What the vectors depend on, beside the songs; the same for all ways to say the same."""
        nodes = [kind for kind in KINDS if kind in self.nodes]
        weights = {kind: float(self.edge_weights[kind]) for kind in nodes if self.edge_weights.get(kind, 1.0) != 1.0}
        return {**asdict(self), "p": float(self.p), "q": float(self.q), "nodes": nodes, "edge_weights": weights}

    def reads(self, song: Song) -> bytes:
        """The song's edges."""
        return "\n".join(map("\t".join, edges_of(song, self.nodes))).encode()

    def build(self, songs: Sequence[Song], report: Report = no_report) -> Vectors:
        """One dense row a song; a song without any of the nodes (none by default) is left out.

        Raises ValueError when no song has any.
        """
        import networkx

        report("walking the song graph", 0, 1)
        graph = song_graph(songs, self.nodes, self.edge_weights)
        if not graph:
            raise ValueError(f"no song of the catalogue has any of the nodes {', '.join(self.nodes)}")
        weights = networkx.to_scipy_sparse_array(graph, dtype=np.float64, format="csr")
        walks = Walker(weights, self.p, self.q).walks(self.walks, self.walk_length, np.random.default_rng(self.seed))
        number = {name: node for node, name in enumerate(graph)}
        kept = [song.song_id for song in songs if song_node(song.song_id) in number]
        left_out = {song.song_id: "none of the nodes" for song in songs if song_node(song.song_id) not in number}
        trained = self._skip_gram(walks, report)
        return Vectors(kept, trained[[number[song_node(song_id)] for song_id in kept]], left_out)

    def _skip_gram(self, walks: NDArray[np.int32], report: Report) -> NDArray[np.float32]:
        """The vectors (nodes, dimension) of the nodes in the walks, of which each is in at least one."""
        from gensim.models import Word2Vec
        from gensim.models.callbacks import CallbackAny2Vec

        class Epochs(CallbackAny2Vec):  # type: ignore[misc]
            """Says how many epochs are done."""

            done = 0

            def on_epoch_begin(_, model: Word2Vec) -> None:
                report("training", Epochs.done, self.epochs)
                Epochs.done += 1

        with tempfile.TemporaryDirectory() as scratch:
            # A file of words: gensim reads it in C, three times as fast as words that are Python objects.
            corpus = Path(scratch) / "walks.txt"
            with corpus.open("w", encoding="ascii") as file:
                file.writelines(_lines(walks))
            model = Word2Vec(
                corpus_file=str(corpus), vector_size=self.dimension, window=self.window, sg=1, negative=self.negative,
                epochs=self.epochs, min_count=1, workers=self.workers, seed=self.seed, callbacks=[Epochs()],
            )  # fmt: skip
        nodes = [model.wv.key_to_index[str(node)] for node in range(len(model.wv))]
        trained: NDArray[np.float32] = model.wv.vectors[nodes]
        return trained


def _lines(walks: NDArray[np.int32]) -> Iterator[str]:
    """The walks as text, one a line."""
    words = np.array([str(node) for node in range(int(walks.max()) + 1)], dtype=object)
    for start in range(0, len(walks), _WALKS_AT_ONCE):
        for walk in words[walks[start : start + _WALKS_AT_ONCE]].tolist():
            yield " ".join(walk) + "\n"


def node2vec_of(settings: Node2VecSettings, given: Mapping[str, Any] | None = None) -> Node2Vec:
    """The model that is asked for: what is given, else what the settings say, else the preset.

    Raises ValueError for a preset or a value that does not exist, TypeError for an unknown parameter.
    """
    asked = {**settings.model_dump(exclude_none=True), **(given or {})}
    preset = asked.pop("preset")
    if preset not in PRESETS:
        raise ValueError(f"node2vec has the presets {', '.join(get_args(Node2VecPreset))}, not {preset!r}")
    return Node2Vec(**{**PRESETS[preset], **asked})
