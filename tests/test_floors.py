"""Imports go down only (docs/architecture.md). Reads every import in the package."""

import ast
import sys
from pathlib import Path

import pytest

import anomalib_lite

PACKAGE = Path(anomalib_lite.__file__).parent
FLOORS = (
    ("edge",),
    ("data", "metrics", "statistics"),
    ("system",),
    ("backbones",),
    ("scorers",),
    ("export", "distillation"),
    ("detector",),
    ("evaluation", "tuning", "transductive"),
    ("curation",),
    ("report",),
    ("cli",),
)
"""Rooms from the ground up. Rooms of one floor do not know each other; there is no exception."""

MOST_FLOORS, MOST_ROOMS = 11, 20
MOST_LINES, MOST_MEDIAN_LINES = 300, 150

EDGE_MAY_IMPORT = {"anomalib_lite", "numpy", "cv2", "onnxruntime", "openvino"}


def imports_of(path):
    """(line, dotted module) of every import, wherever it stands; relative ones resolved."""
    parts = ["anomalib_lite", *path.relative_to(PACKAGE).with_suffix("").parts]
    package = parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield node.lineno, module
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def floor_of(module):
    """`anomalib_lite.edge.frames` -> 0; None for what stands on no floor."""
    parts = module.split(".")
    if parts[0] != "anomalib_lite" or len(parts) < 2:
        return None
    return next((level for level, rooms in enumerate(FLOORS) if parts[1] in rooms), None)


def dotted(path):
    parts = ["anomalib_lite", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circles(graph):
    """Groups of modules that reach each other (Tarjan's strongly connected components)."""
    order, low, stack, found = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph[node]:
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            group = [stack.pop()]
            while group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in order:
            visit(node)
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def test_the_root_holds_rooms_only():
    loose = [path.name for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    assert loose == []


def test_every_room_stands_on_a_floor():
    rooms = {path.relative_to(PACKAGE).parts[0] for path in FILES}
    assert rooms == {room for floor in FLOORS for room in floor}
    assert len(FLOORS) <= MOST_FLOORS
    assert len(rooms) <= MOST_ROOMS


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    own = path.relative_to(PACKAGE).parts[0]
    level = floor_of(f"anomalib_lite.{own}")
    wrong = [
        f"{path.name}:{line} imports {module}"
        for line, module in imports_of(path)
        if (other := floor_of(module)) is not None
        and module.split(".")[1] != own
        and other >= level
    ]
    assert wrong == []


def test_no_module_reaches_itself():
    """Also inside a room, inside functions and under TYPE_CHECKING."""
    modules = {dotted(path) for path in FILES}
    graph = {
        dotted(path): {module for _, module in imports_of(path)} & modules - {dotted(path)}
        for path in FILES
    }
    # `from package import module` also names the package; only its own text counts there.
    for path in FILES:
        own = dotted(path)
        graph[own] -= {other for other in graph[own] if own.startswith(f"{other}.")}
    assert circles(graph) == []


def test_circles_are_found():
    """A check of the check."""
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == [["b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_each_room_says_what_lives_there():
    rooms = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))
    silent = [
        str(room.relative_to(PACKAGE))
        for room in rooms
        if not (ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or "").strip()
    ]
    assert silent == []


def test_files_fit_in_the_head():
    lines = {path: len(path.read_text().splitlines()) for path in FILES}
    assert {str(path): count for path, count in lines.items() if count > MOST_LINES} == {}
    assert sorted(lines.values())[len(lines) // 2] < MOST_MEDIAN_LINES


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "edge").rglob("*.py")), ids=lambda path: path.name
)
def test_the_ground_floor_needs_numpy_opencv_and_an_engine_only(path):
    foreign = [
        f"{path.name}:{line} imports {module}"
        for line, module in imports_of(path)
        if module.split(".")[0] not in EDGE_MAY_IMPORT | sys.stdlib_module_names
    ]
    assert foreign == []


def test_the_reader_of_imports_sees_all_kinds(tmp_path, monkeypatch):
    """A check of the check: relative, nested and type-only imports are read."""
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    path = tmp_path / "data" / "parts" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import numpy.linalg\n"
        "from ...edge import errors\n"
        "from . import camera\n"
        "def f():\n    from anomalib_lite.cli import main\n"
    )
    assert {module for _, module in imports_of(path)} == {
        "numpy.linalg",
        "anomalib_lite.edge",
        "anomalib_lite.edge.errors",
        "anomalib_lite.data.parts",
        "anomalib_lite.data.parts.camera",
        "anomalib_lite.cli",
        "anomalib_lite.cli.main",
    }
