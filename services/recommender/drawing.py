"""The draw: in which slots the arms stand, and in which order they pick; the two independent of each other."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

import numpy as np

from contracts.arms import PAPER_ORDER

Order = Literal["random", "fixed"]


@dataclass(frozen=True)
class Draw:
    """`slots`: the arms in the order of their slots; `picks`: in the order in which they pick."""

    slots: tuple[str, ...]
    picks: tuple[str, ...]


def draw(arms: Sequence[str], order: Order, rng: np.random.Generator) -> Draw:
    """Two independent uniform permutations of the arms; the paper's order twice when it is `fixed`."""
    if order == "fixed":
        fixed = paper_order(arms)
        return Draw(fixed, fixed)
    return Draw(shuffled(arms, rng), shuffled(arms, rng))


def paper_order(arms: Sequence[str]) -> tuple[str, ...]:
    """Content models first, the random arm last; an arm that the paper does not have comes behind."""
    known = {arm: place for place, arm in enumerate(PAPER_ORDER)}
    return tuple(sorted(arms, key=lambda arm: (known.get(arm, len(known)), arm)))


def shuffled(arms: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
    """A uniform permutation."""
    return tuple(arms[at] for at in rng.permutation(len(arms)))


def placed(slots: Sequence[str], brought: AbstractSet[str], order: Order) -> list[tuple[str, float]]:
    """The arms that brought a song, in slot order, each with P(arm at its slot).

    Which arms bring something depends on the picks, never on the slots. Given who did, every order of them is equally
    likely, so each of n arms stands at each of the n slots with probability 1 / n.
    """
    present = [arm for arm in slots if arm in brought]
    p_arm = 1.0 if order == "fixed" else 1.0 / max(1, len(present))
    return [(arm, p_arm) for arm in present]
