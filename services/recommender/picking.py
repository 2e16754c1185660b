"""The picks of one playlist: arm after arm from the same eligible set, none able to stop the others."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from services.recommender.arms.base import Arm, Ask, LeftOut, Pick

_log = logging.getLogger(__name__)

# (arm, seconds, code of the reason why it brought nothing or None)
Observe = Callable[[str, float, str | None], None]


@dataclass
class Picked:
    """`picks`: by arm, in the order in which they picked. `left_out`: arm -> why it brought nothing."""

    picks: dict[str, Pick] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def pick_all(ask: Ask, arms: Mapping[str, Arm], order: Sequence[str], observe: Observe) -> Picked:
    """Let the arms pick in this order; what one takes is closed to the next, with everything of its anime."""
    picked = Picked()
    for name in order:
        started = time.perf_counter()
        code = _pick_one(ask, arms, name, picked)
        observe(name, time.perf_counter() - started, code)
    return picked


def _pick_one(ask: Ask, arms: Mapping[str, Arm], name: str, picked: Picked) -> str | None:
    try:
        pick = arms[name].pick(ask)
    except LeftOut as why:
        picked.left_out[name] = str(why)
        return why.code
    except Exception as fault:  # noqa: BLE001 - one arm's fault, whatever it is, must not cost the playlist
        _log.exception("the arm %s failed and is left out of this playlist", name)
        picked.left_out[name] = f"failed: {type(fault).__name__}; the recommender's log has more"
        return "failed"
    if pick is None:
        picked.left_out[name] = _nothing_left(ask)
        return "nothing_left"
    picked.picks[name] = pick
    ask.take(pick.row)
    return None


def _nothing_left(ask: Ask) -> str:
    if ask.open.any():
        return "nothing left: its model knows none of the songs that are left; build it again"
    return "nothing left: every song that is left shares an anime with this playlist"
