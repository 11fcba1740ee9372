"""wae-jax summary: what a network consists of, and that its figures are the benchmark's."""

import time
import tracemalloc

import flax.linen as nn
import pytest

from configs import resnet50, vgg16
from tests.export.conftest import trained as drawn
from wae_jax.bench import networks
from wae_jax.bench.breakdown import part_macs
from wae_jax.bench.measure import count_params, inference_macs
from wae_jax.bench.summary import summarise
from wae_jax.config import settings_from_config
from wae_jax.methods import set_method
from wae_jax.models.classifier import build_model, variable_shapes


class OwnNetwork(nn.Module):
    """As a user's: one layer is used twice."""

    width: float = 1.0

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(int(8 * self.width), (3, 3), strides=2, name="first")(x)
        again = nn.Conv(int(8 * self.width), (3, 3), name="again")
        return nn.relu(again(again(x)))


OWN = {"model.backbone.name": f"{__name__}:OwnNetwork", "model.backbone.plan": ""}


@pytest.mark.parametrize("changes", [{}, OWN], ids=["vgg", "own"])
@pytest.mark.parametrize("method", ["full", "lowres", "wae", "wae-fast", "cdf97-early"])
def test_totals_are_the_benchmarks(changes, method, tiny_config, monkeypatch):
    # Drawn here: to compile their initialisation takes longer than all the rest.
    monkeypatch.setattr(networks, "random_variables", lambda model, size, seed: drawn(model, size))
    settings = settings_from_config(set_method(tiny_config(changes), method))
    found = summarise(settings, num_classes=10)
    network, full = (
        networks.build_network(
            name,
            settings_from_config(set_method(tiny_config(changes), name)),
            "float32",
            platform="cpu",
            num_classes=10,
        )
        for name in (method, "full")
    )
    assert found.inference_macs == inference_macs(network)
    assert found.parts == part_macs(network)
    assert found.full_macs == inference_macs(full)
    assert found.inference_params == count_params(network.variables["params"])
    assert found.params == count_params(network.trained_variables["params"])


def test_layers_of_a_part_add_up_to_it(tiny_config):
    settings = settings_from_config(tiny_config())
    found = {layer.path: layer for layer in summarise(settings, num_classes=10).layers}
    assert {path[0] for path in found} == {
        "frontend",
        "backbone",
        "light",
        "head_low",
        "head_fused",
    }
    assert {path[1] for path in found if path[0] == "frontend" and len(path) > 1} == {
        *("encoder", "norm_low", "norm_high", "decoder_low", "decoder_high")
    }
    for path, layer in found.items():
        inside = [found[p] for p in found if p[:-1] == path]
        if inside:
            assert layer.macs == sum(part.macs for part in inside)
            assert layer.params == sum(part.params for part in inside)
    conv = found["backbone", "conv1_1"]
    assert (conv.kind, conv.output, conv.calls) == ("Conv", "8x8x8", 1)
    assert (conv.params, conv.macs) == (3 * 3 * 3 * 8, 8 * 8 * 3 * 3 * 3 * 8)
    assert found["frontend",].output == "8x8x3 + 8x8x3"


def test_a_layer_that_runs_twice_counts_once_and_costs_twice(tiny_config):
    settings = settings_from_config(set_method(tiny_config(OWN), "full"))
    found = {layer.path: layer for layer in summarise(settings, num_classes=10).layers}
    again = found["backbone", "module", "again"]
    assert (again.calls, again.params) == (2, 3 * 3 * 8 * 8 + 8)
    assert again.macs == 2 * 8 * 8 * 3 * 3 * 8 * 8


@pytest.mark.slow
def test_no_weight_is_allocated():
    settings = settings_from_config(vgg16.get_config("full"))
    tracemalloc.start()
    found = summarise(settings, num_classes=1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.params == 138_357_544 and found.inference_macs == 15_470_264_320
    assert peak < 50e6  # they would take 553 MB


@pytest.mark.slow
def test_a_resnet50_takes_seconds():
    began = time.process_time()
    settings = settings_from_config(resnet50.get_config("wae"))
    text = summarise(settings, num_classes=1000).as_text()
    assert time.process_time() - began < 10
    assert "stage4_block3" in text and "2.89 times as many" in text
    shapes = variable_shapes(build_model(settings.model, num_classes=1000, image_size=224), 224)
    assert f"{count_params(shapes['params']):,} parameters" in text


def test_the_table_ends_at_a_depth(tiny_config):
    found = summarise(settings_from_config(tiny_config()), num_classes=10)
    lines = found.as_text(1).splitlines()
    assert [line.split()[1] for line in lines[2:7]] == [
        *("frontend", "backbone", "head_low", "light", "head_fused")
    ]
    assert "encoder" not in found.as_text(1) and "encoder" in found.as_text(2)
    assert "conv1 " not in found.as_text(2) and "conv1 " in found.as_text()
