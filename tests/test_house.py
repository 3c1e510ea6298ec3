"""The plan of the house: arrows point down, rooms on one floor are strangers, and reading needs no torch."""

import ast
from pathlib import Path

import pytest

import hessent

ROOT = Path(hessent.__file__).parent
FLOORS = {
    "__main__": 9,
    "cli": 8,
    "pipeline": 7,
    "training": 7,
    "eigensolver": 6,
    "optimizers": 6,
    "report": 6,
    "curvature": 5,
    "checkpoint": 4,
    "journal": 4,
    "arch": 4,
    "data": 4,
    "measures": 4,
    "spectra": 3,
    "estimate": 2,
    "foreign": 2,
    "storage": 2,
    "errors": 1,
    "__init__": 0,
}
QUICK_ROOMS = ("cli", "report", "measures", "spectra", "journal", "storage", "foreign", "estimate", "errors")
HEAVY = {"torch", "matplotlib", "transformers", "datasets", "timm", "sklearn", "pandas"}


def room(module):
    """Return the room of a module: the first name below the package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def imports(tree, *, top_level_only=False):
    """Yield the absolute names that a module imports, those for type checkers left out."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse
            continue
        if top_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        nodes += ast.iter_child_nodes(node)


TREES = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}


def resolve(name):
    """Return the module of ours that an imported name lies in, or None."""
    while name.startswith("hessent"):
        if name in TREES:
            return name
        if f"{name}.__init__" in TREES:
            return f"{name}.__init__"
        name = name.rpartition(".")[0]
    return None


ARROWS = {
    (source, target)
    for source, tree in TREES.items()
    for name in imports(tree)
    if (target := resolve(name)) is not None and target != source
}


def test_every_room_has_a_floor():
    assert {room(module) for module in TREES} <= set(FLOORS)


def test_arrows_point_down_and_rooms_of_one_floor_are_strangers():
    wrong = [
        f"{source} -> {target}"
        for source, target in sorted(ARROWS)
        if room(source) != room(target) and FLOORS[room(source)] <= FLOORS[room(target)]
    ]
    assert not wrong


def test_no_module_imports_itself_by_a_detour():
    arrows = {}
    for module, tree in TREES.items():
        names = (resolve(name) for name in imports(tree, top_level_only=True))
        arrows[module] = {name for name in names if name not in (None, module)}
    finished, path = set(), []

    def walk(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in finished:
            path.append(module)
            for target in sorted(arrows.get(module, ())):
                walk(target)
            finished.add(path.pop())

    for module in arrows:
        walk(module)


def loaded_at_import(module, seen):
    """Return every module, ours or foreign, that importing `module` loads."""
    for name in imports(TREES[module], top_level_only=True):
        own = resolve(name)
        if own is None:
            seen.add(name.split(".")[0])
        elif own not in seen:
            seen.add(own)
            loaded_at_import(own, seen)
    return seen


@pytest.mark.parametrize("module", [name for name in TREES if room(name) in QUICK_ROOMS])
def test_the_reading_side_loads_nothing_heavy(module):
    assert not loaded_at_import(module, set()) & HEAVY


def test_nobody_imports_click_which_typer_carries_inside():
    assert not [module for module, tree in TREES.items() for name in imports(tree) if name.split(".")[0] == "click"]


def test_files_bear_names_that_say_what_they_hold():
    vague = {"utils", "util", "helpers", "common", "misc", "tools", "base"}
    assert not [module for module in TREES if module.rpartition(".")[2] in vague]
