"""Parameter and MAC counts, from shapes alone.

A change of a golden table below means that kept checkpoints no longer fit, or that results measured
before no longer compare: change it only on purpose, and say so in the commit.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

from wae_jax.bench.macs import count_macs
from wae_jax.config import default_config, settings_from_config
from wae_jax.methods import set_method
from wae_jax.models.backbones import BACKBONES, build_backbone
from wae_jax.models.classifier import build_model, variable_shapes
from wae_jax.models.frontends import FRONTENDS

CLASSES = 1000


def paper_model(size=224, **changes):
    """The classifier of wae_jax/config.py with dotted changes to ``config.model``."""
    config = default_config()
    config.update_from_flattened_dict({f"model.{k}": v for k, v in changes.items()})
    settings = settings_from_config(config)
    return build_model(settings.model, num_classes=CLASSES, image_size=size)


def parameters(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def counts(model, size=224) -> tuple[int, int]:
    """(parameters, MACs) of inference: the decoder, used in training only, is left out."""
    variables = variable_shapes(model, size)
    params = dict(variables["params"])
    frontend = {
        name: part
        for name, part in params.pop("frontend", {}).items()
        if not name.startswith("decoder")
    }
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8)
    macs = count_macs(lambda v, x: model.apply(v, x, train=False).scores, variables, images)
    return parameters(params) + parameters(frontend), macs.total


FULL = {"frontend.name": "identity", "head.hidden_single": (4096, 4096)}


def test_released_network():
    model = paper_model()
    assert counts(model) == (53_324_582, 4_381_913_088)
    frontend = variable_shapes(model, 224)["params"]["frontend"]
    assert parameters([frontend["decoder_low"], frontend["decoder_high"]]) == 11_718


def test_released_network_by_parts():
    """The layer table of the paper's released network, counted by hand."""
    variables = variable_shapes(paper_model(), 224)["params"]
    encoder = (3 * 9 * 16 + 16) + 2 * (16 * 9 * 16 + 16) + 2 * (16 * 9 * 3 + 3)
    decoder = (3 * 16 * 16 + 16) + 2 * (16 * 9 * 16 + 16) + (16 * 9 * 3 + 3)
    low = 4 * 4 * 512 * 1024 + 1024 * 1024 + 1024 * 1000 + 1024 + 1024 + 1000
    fused = 4 * 4 * (512 + 128) * 2048 + 2048 * 2048 + 2048 * 1000 + 2048 + 2048 + 1000
    assert {name: parameters(part) for name, part in variables["frontend"].items()} == {
        "encoder": encoder,
        "decoder_low": decoder,
        "decoder_high": decoder,
    }
    assert parameters(variables["head_low"]) == low
    assert parameters(variables["head_fused"]) == fused
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.uint8)
    model = paper_model()
    macs = count_macs(
        lambda v, x: model.apply(v, x).scores,
        {"params": variables, "batch_stats": variable_shapes(model, 224)["batch_stats"]},
        images,
    )
    assert macs.at_level(1)["frontend"] == (
        224 * 224 * 9 * 16 * (3 + 16 + 16) + 2 * 112 * 112 * 9 * 16 * 3
    )


def test_vgg16_at_full_resolution():
    assert counts(paper_model(**FULL)) == (138_357_544, 15_470_264_320)


def test_vgg16_at_low_resolution():
    model = paper_model(**FULL | {"frontend.name": "downsample"})
    assert counts(model)[1] == 3_891_085_312


def test_resnet50_at_full_resolution():
    model = paper_model(
        **{"frontend.name": "identity", "backbone.name": "resnet50", "head.kind": "pool"}
    )
    assert counts(model)[0] == 25_557_032


STEM = {"frontend.name": "identity", "backbone.halve_after_stem": True}


def test_vgg16_halved_after_its_first_conv():
    """Convs after conv1_1 at half the side, the rest as at low resolution."""
    params, macs = counts(paper_model(**FULL | STEM))
    low = paper_model(**FULL | {"frontend.name": "downsample"})
    conv1_1 = 9 * 3 * 64
    assert (params, macs) == (counts(low)[0], counts(low)[1] + conv1_1 * (224**2 - 112**2))
    assert macs == 3_956_113_408


def test_resnet50_halved_after_its_stem():
    resnet = {"backbone.name": "resnet50", "head.kind": "pool"}
    assert counts(paper_model(**resnet | STEM)) == (25_557_032, 1_166_409_728)


# MACs of VGG16 and of ResNet-50, heads included, of images of 224 pixels made smaller first.
LOWRES_TABLE = {
    96: (2_858_516_480, 752_746_496),
    112: (3_891_085_312, 1_077_899_264),
    128: (5_065_572_352, 1_336_623_104),
    160: (7_903_215_616, 2_087_321_600),
    192: (11_371_446_272, 3_004_841_984),
}


@pytest.mark.parametrize(
    "size", [pytest.param(n, marks=() if n == 128 else pytest.mark.slow) for n in LOWRES_TABLE]
)
def test_low_resolution_of_any_size(size):
    low = {"frontend.name": "downsample", "frontend.size": size}
    resnet = {"backbone.name": "resnet50", "head.kind": "pool"}
    models = paper_model(**FULL | low), paper_model(**resnet | low)
    assert tuple(counts(model)[1] for model in models) == LOWRES_TABLE[size]


# torchvision's published figures of its ImageNet models: parameters, and 10^9 MACs at 224 x 224.
TORCHVISION = {
    "vgg11": (132_863_336, 7.609),
    "vgg13": (133_047_848, 11.308),
    "vgg16": (138_357_544, 15.470),
    "vgg19": (143_667_240, 19.632),
    "resnet18": (11_689_512, 1.814),
    "resnet34": (21_797_672, 3.664),
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "resnet152": (60_192_808, 11.514),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.nightly if n in ("resnet101", "resnet152") else ())
        for n in TORCHVISION
    ],
)
def test_full_networks_have_torchvisions_counts(name):
    head = {"head.kind": "pool"} if name.startswith("resnet") else FULL
    model = paper_model(**head | {"frontend.name": "identity", "backbone.name": name})
    params, macs = counts(model)
    assert params == TORCHVISION[name][0]
    assert round(macs / 1e9, 3) == TORCHVISION[name][1]


# torchvision's VGGs with batch norm; it keeps a bias in the convs before a norm, which is no use.
TORCHVISION_BN = {
    "vgg11": 132_868_840,
    "vgg13": 133_053_736,
    "vgg16": 138_365_992,
    "vgg19": 143_678_248,
}


@pytest.mark.parametrize("name", TORCHVISION_BN)
def test_vggs_with_batch_norm_have_torchvisions_count_but_for_the_conv_biases(name):
    model = paper_model(**FULL | {"backbone.name": name, "backbone.batch_norm": True})
    trunk = variable_shapes(model, 224)["params"]["backbone"]
    biases = sum(part["kernel"].shape[-1] for part in trunk.values() if "kernel" in part)
    assert counts(model)[0] == TORCHVISION_BN[name] - biases


# Trunk alone: (parameters, MACs at 64 x 64 x 3); "vgg" with the plan "32 32 M 64 64 M".
BACKBONE_TABLE = {
    "vgg": (65_568, 97_910_784),
    "vgg11": (9_220_480, 611_057_664),
    "vgg13": (9_404_992, 913_047_552),
    "vgg16": (14_714_688, 1_252_786_176),
    "vgg19": (20_024_384, 1_592_524_800),
    "resnet18": (11_176_512, 148_045_824),
    "resnet34": (21_284_672, 299_040_768),
    "resnet50": (23_508_032, 333_643_776),
    "resnet101": (42_500_160, 636_682_240),
    "resnet152": (58_143_808, 939_720_704),
}


def test_every_backbone_is_listed():
    assert set(BACKBONE_TABLE) == set(BACKBONES)


@pytest.mark.parametrize("name", BACKBONE_TABLE)
def test_backbone(name):
    settings = settings_from_config(default_config())
    trunk = build_backbone(
        dataclasses.replace(settings.model.backbone, name=name, plan="32 32 M 64 64 M")
    )
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: trunk.init(jax.random.key(0), x, train=False), images)
    macs = count_macs(lambda v, x: trunk.apply(v, x, train=False), variables, images)
    assert (parameters(variables["params"]), macs.total) == BACKBONE_TABLE[name]


# Parameters of the encoder and of the decoders, MACs of the encoder at 64 x 64, channels of high.
# A key is the front end's name and what differs from wae_jax/config.py.
FRONTEND_TABLE = {
    ("identity",): (0, 0, 0, 0),
    ("downsample",): (0, 0, 0, 0),
    ("downsample", ("levels", 2)): (0, 0, 0, 0),
    ("downsample", ("size", 48)): (0, 0, 0, 0),  # sums of slices, as a pool
    ("downsample", ("size", 45)): (
        0,
        0,
        941_760,
        0,
    ),  # a product with a matrix, for its long period
    ("space-to-depth",): (0, 0, 0, 9),
    ("space-to-depth", ("levels", 2)): (0, 0, 0, 45),
    ("wavelet",): (0, 0, 110_592, 9),  # 9 taps a pixel
    ("wae",): (5_958, 11_718, 21_528_576, 3),
    ("wae", ("levels", 2)): (9_798, 16_326, 21_848_064, 3),
    ("wae", ("padding", "reflect")): (5_958, 11_718, 23_691_456, 3),
    ("wae", ("encoder", "polyphase"), ("depth", 1)): (2_614, 11_718, 2_882_304, 3),
    ("wae", ("encoder", "polyphase"), ("depth", 1), ("high_channels", 9)): (
        3_484,
        13_254,
        3_767_040,
        9,
    ),
    ("wae", ("encoder", "polyphase"), ("depth", 1), ("levels", 2)): (7_798, 16_326, 2_460_672, 3),
    ("wae", ("decoder", "polyphase"), ("channels", 24)): (12_390, 9_016, 46_448_640, 3),
}


def test_every_frontend_is_listed():
    assert {key[0] for key in FRONTEND_TABLE} == set(FRONTENDS)


@pytest.mark.parametrize("key", FRONTEND_TABLE, ids=str)
def test_frontend(key):
    name, *changes = key
    model = paper_model(
        64,
        **{"frontend.name": name, "head.kind": "pool"},
        **{f"frontend.{option}": value for option, value in changes},
    )
    shapes = variable_shapes(model, 64)
    params = shapes["params"].get("frontend", {})
    decoders = [part for part_name, part in params.items() if part_name.startswith("decoder")]
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.uint8)

    def analyze(variables, x):
        return model.apply(variables, x, classify=False).sub_images

    sub = jax.eval_shape(analyze, shapes, images)
    assert (
        parameters(params) - parameters(decoders),
        parameters(decoders),
        count_macs(analyze, shapes, images).total,
        0 if sub.high is None else sub.high.shape[-1],
    ) == FRONTEND_TABLE[key]


# MACs of methods with early fusion before ResNet-50, heads included, 224 pixels, in training form.
# Low resolution's, nine more channels into a 7x7 conv, and the front end.
EARLY_TABLE = {
    "wae-early": 1_232_609_408,
    "haar-early": 1_166_710_784,
    "cdf97-early": 1_167_764_480,
    "space-to-depth-early": 1_166_409_728,
}


@pytest.mark.parametrize("method", EARLY_TABLE)
def test_methods_with_early_fusion(method):
    config = set_method(default_config(), method)
    changes = {f"frontend.{key}": value for key, value in config.model.frontend.items()}
    resnet = {"backbone.name": "resnet50", "head.kind": "pool", "fusion": "early"}
    assert counts(paper_model(**resnet | changes))[1] == EARLY_TABLE[method]
