"""What the PyTorch twin is told to compute; PyTorch itself is not needed."""

import types

import jax
import numpy as np
import pytest

from wae_jax.bench import torch_layers
from wae_jax.bench.networks import random_variables
from wae_jax.bench.torch_layers import area_resize, torch_layout
from wae_jax.bench.torch_network import TorchTwin
from wae_jax.config import settings_from_config
from wae_jax.methods import set_method
from wae_jax.models import resize
from wae_jax.models.classifier import build_model, variable_shapes


class Recorder:
    """Stands for torch: passes tensors on, and keeps how often a norm got which epsilon."""

    def __init__(self):
        self.epsilons, self.pools = [], 0
        self.channels_last = None
        self.nn = types.SimpleNamespace(functional=self)

    def batch_norm(self, x, *statistics, training, momentum, eps):
        self.epsilons.append(eps)
        return x

    def conv2d(self, x, *arguments):
        return x

    def max_pool2d(self, x, *arguments, **options):
        return x

    def relu_(self, x):
        return x

    def avg_pool2d(self, x, *arguments, **options):
        self.pools += 1
        return x


def run_branch(config):
    """A twin whose backbone has run on the recorder."""
    model = build_model(settings_from_config(config).model, num_classes=10, image_size=16)
    variables = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), variable_shapes(model, 16))
    twin = object.__new__(TorchTwin)
    twin.torch, twin.model, twin.trained = Recorder(), model, True
    twin.params, twin.stats = variables["params"], variables["batch_stats"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_layers, "import_torch", lambda: twin.torch)
        twin._branch("backbone", np.zeros(()))
    return twin


@pytest.mark.parametrize("name", ["vgg", "resnet18", "resnet50"])
def test_norms_have_the_networks_own_epsilon(name, tiny_config):
    changes = {
        "model.backbone.name": name,
        "model.backbone.width": 0.125,
        "model.backbone.norm_epsilon": 1.001e-5,  # Keras's
    }
    twin = run_branch(set_method(tiny_config(changes), "full"))
    norms = len(jax.tree.leaves(twin.stats)) // 2
    assert twin.torch.epsilons == [1.001e-5] * norms and norms > 1


@pytest.mark.parametrize("name", ["vgg", "resnet18"])
@pytest.mark.parametrize("method, pools", [("full", 0), ("stem", 1)])
def test_features_are_halved_after_the_stem(name, method, pools, tiny_config):
    changes = {"model.backbone.name": name, "model.backbone.width": 0.125}
    assert run_branch(set_method(tiny_config(changes), method)).torch.pools == pools


@pytest.mark.parametrize("size", [(10, 12), (9, 11)])
def test_area_resize(size):
    images = np.random.default_rng(0).normal(size=(2, 15, 18, 3)).astype(np.float32)
    found = area_resize(images.transpose(0, 3, 1, 2), size, np.asarray)
    expected = resize.area_resize(images, size)
    np.testing.assert_allclose(found.transpose(0, 2, 3, 1), expected, rtol=1e-5, atol=1e-6)


def test_random_networks_are_fit_for_a_comparison(tiny_config):
    """No part of them is 0, and their residual branches are small, as at the start of training."""
    changes = {"model.backbone.name": "resnet18", "model.backbone.width": 0.125}
    settings = settings_from_config(set_method(tiny_config(changes), "full"))
    model = build_model(settings.model, num_classes=10, image_size=16)
    params = random_variables(model, 16, seed=0)["params"]
    assert all(np.any(leaf) for leaf in jax.tree.leaves(params))
    block = params["backbone"]["stage1_block1"]
    assert block["norm1"]["scale"].min() >= 0.5
    assert block["norm2"]["scale"].min() >= 0.05 and block["norm2"]["scale"].max() <= 0.1


def test_torch_layout():
    kernel = np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    found = torch_layout(kernel)
    assert found.shape == (5, 4, 2, 3) and found[4, 3, 1, 2] == kernel[1, 2, 3, 4]
    assert torch_layout(kernel[0, 0]).shape == (5, 4)
    assert torch_layout(kernel[0, 0, 0]).shape == (5,)
