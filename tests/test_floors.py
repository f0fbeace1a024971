"""Imports go down only (docs/architecture.md). Reads every import in the package."""

import ast
import sys
from pathlib import Path

import pytest

import anomalib_lite

PACKAGE = Path(anomalib_lite.__file__).parent
FLOORS = {
    "edge": 0,
    "backbones": 1,
    "data": 1,
    "metrics": 1,
    "scorers": 2,
    "distillation": 3,
    "detector": 3,
    "streams": 3,
    "audit": 3,
    "audit_report": 3,
    "oddness": 3,
    "pool_audit": 3,
    "pool_report": 3,
    "feedback": 3,
    "pool": 3,
    "calibrate": 3,
    "detector_file": 3,
    "detector_graph": 3,
    "fitted_data": 3,
    "contamination": 3,
    "gallery": 3,
    "products": 3,
    "explain": 3,
    "updates": 3,
    "layer_choice": 3,
    "memory": 3,
    "versions": 3,
    "export": 4,
    "evaluation": 5,
    "report": 5,
    "cli": 6,
}
UPWARD = {("detector", "export")}
"""The one documented way up: `Detector.export` imports the exporter when it is called."""

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


def floor_name(module):
    """`anomalib_lite.edge.frames` -> `edge`; None for what stands on no floor."""
    parts = module.split(".")
    if parts[0] != "anomalib_lite" or len(parts) < 2:
        return None
    return parts[1] if parts[1] in FLOORS else None


def own_name(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def test_every_module_stands_on_a_floor():
    assert {own_name(path) for path in FILES} <= FLOORS.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    own = own_name(path)
    upward = [
        f"{path.name}:{line} imports {module}"
        for line, module in imports_of(path)
        if (name := floor_name(module)) is not None
        and FLOORS[name] > FLOORS[own]
        and (own, name) not in UPWARD
    ]
    assert upward == []


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


def test_the_way_up_is_taken_inside_functions_only():
    tree = ast.parse((PACKAGE / "detector.py").read_text())
    at_import = [
        node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and floor_name(node.module or "") == "export"
    ]
    assert at_import == []


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
