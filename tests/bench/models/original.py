"""The original's build: PyPI `node2vec` on a graph. Run by the interpreter of an environment that has it.

`python original.py EDGES.json FILE.npz DIMENSION WALK_LENGTH WALKS WINDOW SEED`: EDGES is a list of [node, node]; FILE
gets the vectors of all nodes.
"""

import json
import sys
from pathlib import Path

import networkx
import node2vec
import numpy


def main() -> None:
    """The command."""
    edges, file = Path(sys.argv[1]), Path(sys.argv[2])
    dimension, walk_length, walks, window, seed = map(int, sys.argv[3:])
    graph = networkx.Graph()
    graph.add_edges_from(json.loads(edges.read_text(encoding="utf-8")), weight=1.0)
    walker = node2vec.Node2Vec(
        graph,
        dimensions=dimension,
        walk_length=walk_length,
        num_walks=walks,
        p=1,
        q=1,
        workers=1,
        seed=seed,
        quiet=True,
    )
    model = walker.fit(window=window, min_count=1, seed=seed)
    names = list(graph)
    numpy.savez(file, names=numpy.array(names), rows=numpy.stack([model.wv[name] for name in names]))


if __name__ == "__main__":
    main()
