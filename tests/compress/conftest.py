"""Networks with weights as after training, and photos to judge their filters by."""

import jax
import numpy as np
import pytest

from tests.export.conftest import trained
from tests.networks import register_short_resnets
from wae_jax import data
from wae_jax.compress.network import Network
from wae_jax.config import settings_from_config
from wae_jax.models.classifier import build_model, scores_of

FULL = {"model.frontend.name": "identity"}
VGG = {"model.backbone.plan": "6 8 M 10 M"}
# name -> changes to the tiny config
NETWORKS = {
    "vgg": FULL | VGG | {"model.backbone.batch_norm": False, "model.head.kind": "fc"},
    "vgg with norms": FULL | VGG,
    "wae": VGG,
    "wae with fc heads": VGG | {"model.head.kind": "fc"},
    "wae-early": VGG | {"model.fusion": "early"},
    "basic": FULL | {"model.backbone.name": "basic"},
    "bottleneck": FULL | {"model.backbone.name": "bottleneck"},
}
for _name, _changes in NETWORKS.items():
    _sizes = {"hidden_single": (12,), "hidden_low": (12,), "hidden_fused": (12,)}
    _changes |= {f"model.head.{key}": value for key, value in _sizes.items()}
    if _name in ("basic", "bottleneck"):
        _changes |= {"model.backbone.width": 0.125, "model.backbone.stem": "small"}


@pytest.fixture
def make(tiny_config, monkeypatch):
    """Factory: ``make(a name of NETWORKS, **more changes)``, at 16 pixels."""
    register_short_resnets(monkeypatch)

    def build(name: str, changes=None) -> Network:
        settings = settings_from_config(tiny_config(NETWORKS[name] | (changes or {}))).model
        model = build_model(settings, num_classes=10, image_size=16)
        return Network(settings, trained(model, 16), 10, 16)

    return build


@pytest.fixture(scope="session")
def photos(tiny_config, cifar10):
    """Two batches of eight photos of CIFAR-10, their middle, with labels."""
    settings = settings_from_config(tiny_config({"data.image_size": 32})).data
    batches = data.sample_batches(settings, "train[:1000]", 16, 8)
    return [{"image": b["image"][:, 8:24, 8:24], "label": b["label"]} for b in batches]


def scores(network: Network, images: np.ndarray) -> np.ndarray:
    """As evaluation computes them."""
    call = jax.jit(lambda v, x: scores_of(network.model, v, x))
    return np.asarray(call(network.variables, images))


def check_same_scores(one: Network, other: Network, images: np.ndarray) -> None:
    """They are equal but for rounding."""
    expected = scores(one, images)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(scores(other, images) / scale, expected / scale, atol=1e-5)


def slow_if_deep(name: str, *values):
    """The parameters of a test, kept for long runs where the network takes long to compile."""
    deep = name in ("basic", "bottleneck", "wae with fc heads")
    return pytest.param(name, *values, marks=pytest.mark.slow if deep else ())


def nightly(name: str, *values):
    """The parameters of a test that takes long and need not run on every change."""
    return pytest.param(name, *values, marks=pytest.mark.nightly)
