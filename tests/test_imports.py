"""What importing the package costs; where its modules may be is held by import-linter."""

import subprocess
import sys

# Not everyone has them, or wants to wait for them.
OPTIONAL = ("tensorflow", "torch", "torchvision", "timm", "matplotlib", "onnx", "onnxruntime",
            "openvino", "tensorboardX", "pywt", "flatbuffers")  # fmt: skip
LOAD_ALL = f"""
import importlib, pkgutil, sys
import jax  # it takes flatbuffers for itself where that is installed
theirs = set(sys.modules)
import wae_jax
found = pkgutil.walk_packages(wae_jax.__path__, "wae_jax.")
names = [m.name for m in found if "__main__" not in m.name]
assert len(names) > 60
for name in names:
    importlib.import_module(name)
print(sorted(set({OPTIONAL!r}) & (set(sys.modules) - theirs)))
"""


def python(code: str, root) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_optional_packages_are_imported_where_they_are_needed(root):
    assert python(LOAD_ALL, root) == "[]"


def test_the_package_alone_imports_no_jax(root):
    """Data-loading workers and --help need only a part."""
    assert python("import sys, wae_jax; print('jax' in sys.modules)", root) == "False"
