"""The options of `animusic models build` that are node2vec's parameters."""

from typing import Annotated, Any, get_args

import typer

from services.common.settings import Node2VecPreset, NodeKind

Preset = Annotated[
    Node2VecPreset | None,
    typer.Option(help="node2vec: paper has 16 dimensions, 5 epochs, nodes anime, composer, tag. Default: default"),
]
Dimension = Annotated[int | None, typer.Option(min=2, help="node2vec: length of a vector. Default: 64")]
WalkLength = Annotated[int | None, typer.Option(min=2, help="node2vec: nodes of a walk. Default: 10")]
Walks = Annotated[int | None, typer.Option(min=1, help="node2vec: walks from each node. Default: 20")]
Window = Annotated[int | None, typer.Option(min=1, help="node2vec: nodes to each side. Default: 5")]
P = Annotated[float | None, typer.Option("--p", min=0.001, max=1000, help="node2vec: above 1, seldom back. Default: 1")]
Q = Annotated[float | None, typer.Option("--q", min=0.001, max=1000, help="node2vec: above 1, never far. Default: 1")]
Epochs = Annotated[int | None, typer.Option(min=1, help="node2vec: passes over the walks. Default: 2")]
Workers = Annotated[int | None, typer.Option(min=1, help="node2vec: threads; only 1 is repeatable. Default: 1")]
Seed = Annotated[int | None, typer.Option(min=0, help="node2vec: another seed, another model. Default: 1")]
Nodes = Annotated[
    list[str] | None,
    typer.Option("--node", help=f"node2vec: {', '.join(get_args(NodeKind))}; may be repeated. Default: all"),
]
EdgeWeights = Annotated[
    list[str] | None,
    typer.Option("--edge-weight", metavar="KIND=WEIGHT", help="node2vec: of a kind of edges; may be repeated."),
]


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The parameters that were set, as a model takes them. Raises ValueError for a weight that is none."""
    asked = {name: value for name, value in options.items() if value not in (None, [])}
    if "edge_weights" in asked:
        asked["edge_weights"] = dict(map(_weight, asked["edge_weights"]))
    return asked


def _weight(text: str) -> tuple[str, float]:
    kind, _, weight = text.partition("=")
    try:
        return kind, float(weight)
    except ValueError:
        raise ValueError(f"--edge-weight takes KIND=WEIGHT, as in composer=2, not {text!r}") from None
