"""No module imports itself through others: a circle makes the order of imports matter, and hides who needs whom."""

import grimp

PACKAGES = ("contracts", "services", "collectors", "model_jobs")


def test_no_circle_of_imports() -> None:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    circles = circles_of({module: graph.find_modules_directly_imported_by(module) for module in graph.modules})
    assert not circles, f"these modules import each other: {circles}"


def test_a_circle_is_found() -> None:
    assert circles_of({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}, "e": set()}) == [["b", "c"], ["d"]]


def circles_of(imports: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that reach each other, sorted."""
    reached = {module: _reached(module, imports) for module in imports}
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached.get(other, ())))
        for module in imports
        if module in reached[module]
    }
    return [list(group) for group in sorted(groups)]


def _reached(module: str, imports: dict[str, set[str]]) -> set[str]:
    """Every module that `module` imports, directly or through others."""
    found: set[str] = set()
    next_up = [module]
    while next_up:
        for imported in imports.get(next_up.pop(), set()) - found:
            found.add(imported)
            next_up.append(imported)
    return found
