"""The rooms of the package: what may import what. Lazy imports count; those for types alone do not."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "efficientnet"

# From the ground up. A room imports from floors below its own and from itself; the package itself is the room "".
FLOORS = (
    {"common", "errors"},
    {"images", "reports"},
    {"family"},
    {"", "checkpoints", "network"},
    {"keras_graph"},
    {"exported_files"},
    {"datasets", "keras_files", "preprocessing", "weights"},
    {"model", "model_io"},
    {"compat", "keras", "tfkeras"},
    {"inference"},
    {"explain"},
    {"cleaning", "evaluation", "export", "serving"},
    {"similarity", "training"},
    {"design"},
    {"cli"},
    {"__main__"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(path, for_types=False):
    """Names of this package's modules that a module imports, as tuples of their parts."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path)[:-1]
    modules = {name_of(module) for module in MODULES}
    nodes = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not for_types:
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            target = (*start, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                yield (*target, alias.name) if (*target, alias.name) in modules else target
        elif isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)


def room_of(name):
    return name[1] if len(name) > 1 else ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    room = room_of(name_of(path))
    wrong = {
        ".".join(name)
        for name in imported(path)
        if name[0] == "efficientnet" and room_of(name) != room and FLOOR[room_of(name)] >= FLOOR[room]
    }
    assert not wrong, f"{room or 'efficientnet'} stands on floor {FLOOR[room]} and imports from there or above"


@pytest.mark.slow
def test_no_module_imports_itself_by_others():
    """Not even for types: what is tied in a circle can only be understood as a whole."""
    arrows = {name_of(path): {name for name in imported(path, for_types=True)} for path in MODULES}
    assert list(graphlib.TopologicalSorter(arrows).static_order())


def test_no_file_is_too_long():
    files = [path for folder in ("efficientnet", "scripts", "tests") for path in (ROOT / folder).rglob("*.py")]
    assert not {str(path): count for path in files if (count := path.read_text().count("\n")) > 400}
