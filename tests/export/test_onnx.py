"""ONNX files give the checkpoint's scores in ONNX Runtime, from few operators."""

import json

import flax.linen as nn
import onnx
import pytest

from configs import quickstart, resnet50, vgg16
from tests.networks import register_short_resnets
from wae_jax.errors import UserError
from wae_jax.methods import METHODS, set_method

MODULES = "tests.export.modules"
# Those whose front ends differ; every method is tried on larger networks by the slow tests.
FRONT_ENDS = {
    "full": {"AveragePool": 0},
    "lowres": {"AveragePool": 1},
    "wae": {"Pad": 1, "SpaceToDepth": 1, "Conv": 6},
    "wae-fast": {"Pad": 1, "SpaceToDepth": 0, "Conv": 5, "Mul": 0},
    "cdf97-early": {"Conv": 2},
    "space-to-depth-early": {"SpaceToDepth": 1, "AveragePool": 1},
    "lowres-12": {"Conv": 2},
}


def own(config, name: str, method: str = "full"):
    """The config with a backbone of :mod:`tests.export.modules`."""
    config.model.backbone.update(name=f"{MODULES}:{name}", plan="", batch_norm=False)
    return set_method(config, method)


SLOW = ("cdf97-early", "space-to-depth-early")


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=pytest.mark.slow) if m in SLOW else m for m in FRONT_ENDS]
)
def test_methods(method, case, tiny_config, operators):
    path = case(set_method(tiny_config(), method)).check("onnx", None, 7)
    found = operators(path)
    assert found["Transpose"] == 1
    for name, count in FRONT_ENDS[method].items():
        assert found.get(name, 0) == count, name
    if method in ("full", "wae", "wae-fast"):  # biases and norms are in the convs
        adds = {"full": 1, "wae": 2, "wae-fast": 2}  # normalisation of the input, sum of scores
        assert found["Add"] == adds[method] and found["Gemm"] == (1 if method == "full" else 2)


def test_a_relu_follows_its_conv(case, tiny_config):
    path = case(set_method(tiny_config(), "full")).write("onnx", 1)
    nodes = onnx.load(path).graph.node
    names = [node.op_type for node in nodes]
    assert names == ["Transpose", "Cast", "Mul", "Add", *["Conv", "Relu", "MaxPool"] * 2,
                     "ReduceMean", "Gemm", "Softmax"]  # fmt: skip
    assert all(len(node.input) == 3 for node in nodes if node.op_type in ("Conv", "Gemm"))


@pytest.mark.parametrize("name", [pytest.param("basic", marks=pytest.mark.slow), "bottleneck"])
def test_1x1_convs_come_out_as_convs(name, case, tiny_config, operators, monkeypatch):
    register_short_resnets(monkeypatch)
    config = set_method(tiny_config(), "full")
    config.data.image_size = 32
    config.model.backbone.update(name=name, plan="", batch_norm=False, width=0.125)
    path = case(config).check("onnx", None, 1)
    blocks, convs, shortcuts = {"basic": (4, 2, 3), "bottleneck": (5, 3, 4)}[name]
    found = operators(path)
    assert found["Conv"] == 1 + blocks * convs + shortcuts
    assert found["Add"] == 1 + blocks and "Slice" not in found and "Reshape" not in found
    assert found["Transpose"] == found["Gemm"] == found["MaxPool"] == 1


def test_fc_heads_read_flattened_features_as_they_lie(case, tiny_config, operators):
    """In both branches, of which the fused head reads the two together."""
    config = set_method(tiny_config(), "wae-fast")
    config.model.head.update(kind="fc", hidden_low=(16,), hidden_fused=(16,))
    found = operators(case(config).check("onnx", None, 7))
    assert (found["Gemm"], found["Reshape"], found["Transpose"]) == (4, 2, 1)


@pytest.mark.parametrize("name", ["Readme", "Normed", "Attention"])
def test_own_modules(name, case, tiny_config, operators):
    config = own(tiny_config(), name, "wae" if name == "Readme" else "full")
    config.data.image_size = 32
    found = operators(case(config).check("onnx", None, 7))
    if name != "Attention":
        assert found["Transpose"] == 1
    if name == "Normed":  # its first norm is in the conv before it
        assert (found["Conv"], found["MaxPool"], found["AveragePool"]) == (3, 1, 2)


def test_what_is_not_known_is_named_in_one_line(case, tiny_config):
    with pytest.raises(
        UserError, match=r"backbone/module \(.*modules\.py:\d+\) .*primitive sort is"
    ) as error:
        case(own(tiny_config(), "Sorted")).write("onnx", 1)
    assert "\n" not in str(error.value)


class Mixed(nn.Module):
    """Centres features over the batch."""

    @nn.compact
    def __call__(self, x, *, train):
        return x - x.mean(0)


def test_a_sum_over_any_batch_is_named(case, tiny_config):
    config = own(tiny_config(), "Readme")
    config.model.backbone.name = f"{__name__}:Mixed"
    with pytest.raises(UserError, match=r"any number of images"):
        case(config).write("onnx", None)
    case(config).check("onnx", 7)


def test_metadata(case, tiny_config):
    path = case(set_method(tiny_config(), "full")).write(
        "onnx", None, {"class_names": ["cat"], "version": "wae_jax 1"}
    )
    model = onnx.load(path)
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(found["class_names"]) == ["cat"] and found["version"] == "wae_jax 1"
    (images,) = model.graph.input
    sides = [side.dim_param or side.dim_value for side in images.type.tensor_type.shape.dim]
    assert sides == ["batch", 16, 16, 3]
    assert [out.name for out in model.graph.output] == ["scores", "probabilities"]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_quickstart(method, case):
    case(quickstart.get_config(method)).check("onnx", None, 7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "method"), [(vgg16, "wae-fast"), (resnet50, "full"), (resnet50, "wae-fast")]
)
def test_large_networks(config, method, case, operators):
    found = operators(case(config.get_config(method)).check("onnx", None, 7))
    assert found["Transpose"] == 1
    if config is resnet50 and method == "full":
        assert (found["Conv"], found["Relu"], found["Add"]) == (53, 49, 17)
        assert sum(found.values()) == 126
