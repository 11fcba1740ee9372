"""StableHLO files give the checkpoint's scores, with nothing but jax."""

import subprocess
import sys
import zipfile

import numpy as np
import pytest
from jax import export

import wae_jax.export
from wae_jax.errors import UserError
from wae_jax.export import stablehlo
from wae_jax.methods import METHODS, set_method

ALONE = """
import sys
import numpy as np
import wae_jax.export
network = wae_jax.export.load(sys.argv[1])
np.save(sys.argv[3], network(np.load(sys.argv[2]))["scores"])
print(network.metadata["class_names"], network.batch, network.size)
unwanted = {"flax", "orbax", "onnx", "wae_jax.models", "wae_jax.inference", "wae_jax.config"}
print(sorted(unwanted & set(sys.modules)))
"""


def test_any_batch_and_one(case, tiny_config):
    case(set_method(tiny_config(), "full")).check("stablehlo", None, 7)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_for_every_platform(method, case, tiny_config):
    path = case(set_method(tiny_config(), method)).check("stablehlo", None)
    with zipfile.ZipFile(path) as archive:
        module = export.deserialize(bytearray(archive.read(stablehlo.MODULE)))
    assert module.platforms == ("cpu", "cuda", "tpu")


def test_it_runs_without_flax_and_our_models(case, tiny_config, root, run_env, tmp_path):
    network = case(set_method(tiny_config(), "wae-fast"))
    path = network.write("stablehlo", 7, {"class_names": ["cat"]})
    np.save(tmp_path / "photos.npy", network.images)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, path, tmp_path / "photos.npy", tmp_path / "scores.npy"],
        cwd=root,
        env=run_env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['cat'] 7 16", "[]"]
    error = np.abs(np.load(tmp_path / "scores.npy") - network.expected).max()
    assert error < 1e-4 * np.abs(network.expected).max()


def test_mistakes(case, tiny_config, tmp_path, monkeypatch):
    path = case(set_method(tiny_config(), "full")).write("stablehlo", 2)
    network = wae_jax.export.load(path)
    for images in (np.zeros((1, 16, 16, 3), np.uint8), np.zeros((2, 16, 16, 3), np.float32)):
        with pytest.raises(ValueError, match=r"must be uint8 \(2, 16, 16, 3\)"):
            network(images)
    with pytest.raises(UserError, match="No such file"):
        wae_jax.export.load(tmp_path / "none")
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(UserError, match="no StableHLO file"):
        wae_jax.export.load(tmp_path / "text")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "cut", "w") as cut:
        for name in archive.namelist():
            content = archive.read(name)
            cut.writestr(name, content[:100] if name == stablehlo.MODULE else content)
    with pytest.raises(UserError, match=r"jax .* cannot read .*cut"):
        wae_jax.export.load(tmp_path / "cut")
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(UserError, match=r"pip install 'wae-jax\[stablehlo\]'"):
        wae_jax.export.load(path)
