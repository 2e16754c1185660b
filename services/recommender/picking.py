"""The orders of slots and picks, and the picks of one playlist: the arms pick in turn from the same eligible songs."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from contracts.arms import PAPER_ORDER
from services.recommender.arms.base import Arm, LeftOut, Pick, PickRequest

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
    """Content models first, the random arm last; arms that the paper does not have follow."""
    known = {arm: place for place, arm in enumerate(PAPER_ORDER)}
    return tuple(sorted(arms, key=lambda arm: (known.get(arm, len(known)), arm)))


def shuffled(arms: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
    """A uniform permutation."""
    return tuple(arms[at] for at in rng.permutation(len(arms)))


def placed(slots: Sequence[str], picked: AbstractSet[str], order: Order) -> list[tuple[str, float]]:
    """The arms that picked a song, in slot order, each with P(arm at its slot).

    Which arms picked a song does not depend on the slots. So every order of these n arms is equally likely, and each
    arm is at each of the n slots with probability 1 / n.
    """
    present = [arm for arm in slots if arm in picked]
    p_arm = 1.0 if order == "fixed" else 1.0 / max(1, len(present))
    return [(arm, p_arm) for arm in present]


logger = logging.getLogger(__name__)

# (arm, seconds, code of the reason why it picked nothing or None)
Observe = Callable[[str, float, str | None], None]


@dataclass
class Picked:
    """`picks`: by arm, in the order in which they picked. `left_out`: arm -> why it picked nothing."""

    picks: dict[str, Pick] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def pick_all(request: PickRequest, arms: Mapping[str, Arm], order: Sequence[str], observe: Observe) -> Picked:
    """Let the arms pick in this order. A picked song, and all songs of its anime, are closed to the next arms."""
    picked = Picked()
    for name in order:
        started = time.perf_counter()
        code = _pick_one(request, arms, name, picked)
        observe(name, time.perf_counter() - started, code)
    return picked


def _pick_one(request: PickRequest, arms: Mapping[str, Arm], name: str, picked: Picked) -> str | None:
    try:
        pick = arms[name].pick(request)
    except LeftOut as why:
        picked.left_out[name] = str(why)
        return why.code
    except Exception as fault:
        logger.exception("the arm %s failed and is left out of this playlist", name)
        picked.left_out[name] = f"failed: {type(fault).__name__}; the recommender's log has the cause"
        return "failed"
    if pick is None:
        picked.left_out[name] = _nothing_left(request)
        return "nothing_left"
    picked.picks[name] = pick
    request.take(pick.row)
    return None


def _nothing_left(request: PickRequest) -> str:
    if request.open.any():
        return "nothing left: its model has none of the songs that are left; build it again"
    return "nothing left: every song that is left shares an anime with this playlist"
