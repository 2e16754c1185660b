"""The arms: `content.py` has the four that query a vector collection, `popular.py` and `random.py` one each."""

from contracts.arms import ARM_CODES
from services.recommender.arms.base import Arm
from services.recommender.arms.content import CONTENT
from services.recommender.arms.popular import Popular
from services.recommender.arms.random import Random


def all_arms() -> dict[str, Arm]:
    """Every arm by name, in the order of `contracts.arms`.

    Raises LookupError for an arm without a code there, because its exposures could not be stored.
    """
    found: dict[str, Arm] = {arm.name: arm for arm in (*CONTENT, Popular(), Random())}
    for name in found:
        if name not in ARM_CODES:
            raise LookupError(f"the arm {name} needs a number in contracts/arms.py")
    return {name: found[name] for name in ARM_CODES if name in found}
