"""Imports go downward only, and what is heavy or optional is imported where it is needed."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# The package from the cellar up. A module may import those in the lines above its own.
FLOORS = (
    ("errors", "runtime", "fast_layers", "wavelets", "losses", "metrics"),
    ("layers", "settings", "cli"),
    ("frontends", "backbones", "fusion"),
    ("inference", "data"),
    ("model",),
    ("pretrained", "compress"),
    ("stages", "state", "parallel"),
    ("optim", "steps"),
    ("checkpoints",),
    ("progress", "evaluate"),
    ("distill", "importing", "predict"),
    ("loop",),
    ("bench", "export", "visualize"),
    ("study",),
    ("__init__", "__main__"),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# Not everyone has them, or wants to wait for them.
OPTIONAL = {
    "tensorflow",
    "torch",
    "torchvision",
    "timm",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "jax2onnx",
    "tensorboardX",
    "pywt",
    "flatbuffers",
}


def modules(root: Path) -> dict[str, Path]:
    """{'data.loader': path}; a package's own module has the package's name."""
    found = {}
    for path in sorted((root / "wae_jax").rglob("*.py")):
        parts = list(path.relative_to(root / "wae_jax").with_suffix("").parts)
        if len(parts) > 1 and parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    return found


def is_for_typing(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(body: list[ast.stmt], *, inner: bool) -> Iterator[str]:
    """Dotted names imported by these statements; ``inner``: inside functions and classes too."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif is_for_typing(node):
            continue
        elif inner or not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            for name in ("body", "orelse", "finalbody", "handlers"):
                parts = getattr(node, name, [])
                yield from imports(
                    [
                        s
                        for part in parts
                        for s in (part.body if isinstance(part, ast.ExceptHandler) else [part])
                    ],
                    inner=inner,
                )


@pytest.fixture(scope="module")
def package(root):
    """{module: (names imported anywhere, names imported when it is itself imported)}."""
    parsed = {name: ast.parse(path.read_text()).body for name, path in modules(root).items()}
    return {
        name: (set(imports(body, inner=True)), set(imports(body, inner=False)))
        for name, body in parsed.items()
    }


def own(names: set[str], package) -> set[str]:
    """Modules of wae_jax among imported names: 'wae_jax.data.loader.Batch' -> 'data.loader'."""
    found = set()
    for name in names:
        parts = name.split(".")
        if parts[0] != "wae_jax":
            continue
        inside = parts[1:]
        while inside and ".".join(inside) not in package:
            inside.pop()
        found.add(".".join(inside) or "__init__")
    return found


def test_the_parser_sees_every_kind_of_import():
    source = """
import a.b
if X:
    from c import d
try:
    import e
except ImportError:
    import f
if TYPE_CHECKING:
    import g
class C:
    import h
    def m(self):
        from i.j import k
"""
    body = ast.parse(source).body
    assert set(imports(body, inner=False)) == {"a.b", "c.d", "e", "f"}
    assert set(imports(body, inner=True)) == {"a.b", "c.d", "e", "f", "h", "i.j.k"}


def test_every_module_has_its_place(package):
    rooms = {name.split(".")[0] for name in package}
    assert len(rooms) > 15
    assert not rooms - FLOOR_OF.keys(), "new modules: give them a floor in tests/test_layering.py"


def test_imports_go_downward(package):
    wrong = []
    for name, (anywhere, _) in package.items():
        room = name.split(".")[0]
        for used in own(anywhere, package):
            target = used.split(".")[0]
            if target != room and FLOOR_OF.get(target, -1) >= FLOOR_OF.get(room, len(FLOORS)):
                wrong.append(f"{name} imports {used}")
    assert not wrong


def test_no_import_goes_in_a_circle(package):
    graph = {name: own(anywhere, package) - {name} for name, (anywhere, _) in package.items()}
    # A package's own module stands for what it re-exports; its parts may not need it.
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for used in sorted(graph[name]):
            visit(used)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_optional_packages_are_imported_where_they_are_needed(package):
    wrong = [
        f"{name} imports {used}"
        for name, (_, at_once) in package.items()
        for used in at_once
        if used.split(".")[0] in OPTIONAL
    ]
    assert not wrong
    # And some are: otherwise the list above guards nothing.
    assert {used.split(".")[0] for anywhere, _ in package.values() for used in anywhere} & OPTIONAL


def test_config_dicts_stop_at_the_entry_points(package):
    users = {
        name.split(".")[0]
        for name, (anywhere, _) in package.items()
        if any(used.startswith("ml_collections") for used in anywhere)
    }
    assert users <= {"loop", "bench", "study", "cli", "__main__"}
