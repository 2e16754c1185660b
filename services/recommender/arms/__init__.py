"""The arms, each in its own file; `all_arms` finds them."""

from importlib import import_module
from pkgutil import iter_modules

from contracts.arms import ARM_CODES
from services.recommender.arms.base import Arm


def all_arms() -> dict[str, Arm]:
    """Every module of this folder that sets `ARM`, by name, in the order of `contracts.arms`.

    Raises LookupError for an arm without a number there: its exposures could not be stored.
    """
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    found: dict[str, Arm] = {module.ARM.name: module.ARM for module in modules if hasattr(module, "ARM")}
    for name in found:
        if name not in ARM_CODES:
            raise LookupError(f"the arm {name} needs a number in contracts/arms.py")
    return {name: found[name] for name in ARM_CODES if name in found}
