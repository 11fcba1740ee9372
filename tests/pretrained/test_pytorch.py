"""Parity with torchvision and timm on seeded weights, from fixtures that they computed.

To renew the fixtures, or to add a model: tests/pretrained/make_torchvision_fixtures.py.
"""

import json
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import numpy as np
import pytest
import seeded

from wae_jax.models.backbones.resnet import Block
from wae_jax.models.classifier import build_model
from wae_jax.models.layers import BatchNorm
from wae_jax.pretrained import pytorch

FIXTURE = json.loads((Path(__file__).parent / "fixtures" / "torchvision.json").read_text())
TOLERANCE = 1e-4  # of the largest logit, and of each activation's spread


def entries_of(library: str, model: str):
    name, batch_norm = model.removesuffix("_bn"), model.endswith("_bn")
    if name.startswith("resnet"):
        return pytorch.resnet_entries(name)
    return pytorch.vgg_entries(name, batch_norm=batch_norm, timm=library == "timm")


@pytest.mark.parametrize("key", FIXTURE["key_hashes"])
def test_every_array_of_every_model_is_used(key):
    library, model = key.split()
    names = [name for entry in entries_of(library, model) for name in entry.sources]
    assert seeded.key_hash(names) == FIXTURE["key_hashes"][key]


def test_every_model_is_listed():
    assert {key.split()[1] for key in FIXTURE["key_hashes"]} == set(pytorch.MODELS)


def run(imported, images):
    """Logits and the digests of every block, as the fixture names them."""
    model = build_model(
        imported.model,
        num_classes=imported.num_classes,
        image_size=imported.image_size,
    )
    kinds = (Block, BatchNorm) if imported.variables["batch_stats"] else (nn.Conv,)
    # Not under jit: compiling 152 layers as one takes longer than all else here.
    outputs, state = model.apply(
        imported.variables,
        images,
        train=False,
        mutable=["intermediates"],
        capture_intermediates=lambda module, method: isinstance(module, kinds),
    )
    blocks = state["intermediates"]["backbone"]
    return np.asarray(outputs.scores), {
        name: seeded.digest(part["__call__"][0])
        for name, part in blocks.items()
        if "__call__" in part
    }


def check(key, base):
    expected = FIXTURE["computed"][key]
    library, model = key.split()
    arrays = {
        name: np.zeros((), np.int64)
        if name.endswith("num_batches_tracked")
        else seeded.weights(name, tuple(shape))
        for name, shape in expected["shapes"].items()
    }
    imported = pytorch.from_arrays(arrays, Path("seeded"), model, base, source=library)
    scores, digests = run(imported, seeded.images(*expected["images"]))
    logits = np.array(expected["logits"])
    assert np.abs(scores - logits).max() <= TOLERANCE * np.abs(logits).max()
    assert expected["digests"].keys() <= digests.keys()
    for name, values in expected["digests"].items():
        spread = values[1]
        assert np.abs(np.subtract(digests[name], values)).max() <= TOLERANCE * spread, name


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("torchvision vgg16", marks=pytest.mark.slow),
        "torchvision resnet18",
        pytest.param("torchvision resnet50", marks=pytest.mark.slow),
        pytest.param("torchvision resnet152", marks=pytest.mark.slow),  # of resnet50's blocks
    ],
)
def test_logits_and_every_block_agree(key, base_model):
    check(key, base_model)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["torchvision vgg16_bn", "timm vgg11_bn"])
def test_logits_and_every_block_agree_of_large_networks_with_batch_norm(key, base_model):
    check(key, base_model)


# A whole file of 10 GB, in 2 GB of memory.
UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
import safetensors
from wae_jax.errors import UserError
from wae_jax.pretrained.files import read_arrays
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
try:
    read_arrays(Path(sys.argv[1]))
except UserError as error:
    print(error)
"""


def test_a_file_larger_than_the_memory(tmp_path, root):
    path, size = tmp_path / "w.safetensors", 10**10
    header = {"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)  # a sparse file
    arguments = [sys.executable, "-c", UNDER_A_LIMIT, path]
    done = subprocess.run(arguments, cwd=root, capture_output=True, text=True)
    assert done.stdout == f"there is not enough memory for {path}, which has 10.0 GB\n", done.stderr
