"""What `animusic models build` makes of node2vec's options."""

import pytest

from services.cli.node2vec_options import given


def test_only_what_was_set_is_given() -> None:
    asked = {"dimension": None, "p": 0.5, "nodes": [], "edge_weights": ["composer=2", "tag=0.5"], "seed": 0}
    assert given(asked) == {"p": 0.5, "edge_weights": {"composer": 2.0, "tag": 0.5}, "seed": 0}


@pytest.mark.parametrize("text", ["composer", "composer=", "composer=much"])
def test_a_weight_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="KIND=WEIGHT"):
        given({"edge_weights": [text]})
