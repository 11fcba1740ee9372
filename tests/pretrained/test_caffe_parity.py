"""Imported Caffe networks against OpenCV's Caffe importer, layer by layer, on random weights."""

import dataclasses

import cv2
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from configs import vgg16 as vgg16_config
from tests.pretrained.caffe_files import CaffeNet, released_wae, resnet50, vgg16, write_caffemodel
from wae_jax.config import Settings, settings_from_config
from wae_jax.models.classifier import build_model
from wae_jax.pretrained import Imported, import_network
from wae_jax.pretrained.caffe import from_running_sum

TOLERANCE = 1e-4  # of the largest value of a layer
IMAGES = np.random.default_rng(7).integers(0, 256, (2, 224, 224, 3), np.uint8)


@dataclasses.dataclass
class Compared:
    """What both sides computed of :data:`IMAGES`."""

    imported: Imported
    outputs: dict[str, np.ndarray]  # ours, by field of Outputs or path of the module
    layers: dict[str, np.ndarray]  # OpenCV's, by layer; images channel-last

    def check(self, ours: str, theirs: str) -> None:
        actual, expected = self.outputs[ours], self.layers[theirs]
        assert actual.shape == expected.shape
        assert np.std(expected) > 0.1
        np.testing.assert_allclose(
            actual,
            expected,
            rtol=0,
            atol=TOLERANCE * abs(expected).max(),
            err_msg=f"{ours} and Caffe's {theirs}",
        )


def compare(net: CaffeNet, model: str, mean: tuple[float, ...], folder, *, old: bool) -> Compared:
    """Writes the network, runs OpenCV and the imported one on the images."""
    file = write_caffemodel(folder / "net.caffemodel", net.random_arrays(), old=old)
    (folder / "net.prototxt").write_text(net.text)
    reference = cv2.dnn.readNetFromCaffe(str(folder / "net.prototxt"), str(file))
    reference.enableFusion(False)
    reference.setInput(
        np.ascontiguousarray(
            (IMAGES[..., ::-1] - np.asarray(mean, np.float32)).transpose(0, 3, 1, 2)
        )
    )
    names = reference.getLayerNames()
    layers = {
        name: array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
        for name, array in zip(names, reference.forward(names), strict=True)
    }

    imported = import_network("caffe", model, str(file), Settings().model)
    network = build_model(
        imported.model,
        num_classes=1000,
        image_size=imported.image_size,
    )
    outputs, state = jax.jit(
        lambda variables: network.apply(
            variables, IMAGES, capture_intermediates=True, mutable="intermediates"
        )
    )(imported.variables)
    flat = {
        name.removesuffix("/__call__"): value[0]
        for name, value in flatten_dict(state["intermediates"], sep="/").items()
    }
    flat |= {field: getattr(outputs, field) for field in ("scores", "low_scores", "fused_scores")}
    if outputs.sub_images.high is not None:
        flat |= {"low": outputs.sub_images.low, "high": outputs.sub_images.high}
    return Compared(
        imported, {k: np.asarray(v) for k, v in flat.items() if hasattr(v, "shape")}, layers
    )


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    return compare(
        released_wae(), "wae-vgg16", (0, 0, 0), tmp_path_factory.mktemp("released"), old=False
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("low", "decom_conv_CA"),
        ("high", "decom_conv_CH"),
        ("frontend/norm_low", "bn_CA"),
        ("frontend/norm_high", "bn_CH"),
        ("backbone", "pool5_CA"),
        ("light", "pool5_CH"),
        ("low_scores", "fc8_CA"),
        ("fused_scores", "fc8_fusion"),
        ("scores", "sum"),
    ],
)
def test_the_released_network(released, ours, theirs):
    released.check(ours, theirs)


def test_every_conv_of_the_released_network(released):
    for branch, suffix in (("backbone", "_CA"), ("light", "_CH")):
        convs = [name for name in released.outputs if name.startswith(f"{branch}/conv")]
        assert len(convs) == 13
        for name in convs:
            released.check(name, name.removeprefix(f"{branch}/") + suffix)


def test_the_decoder_that_was_not_released_is_new_and_reported(released):
    decoder = released.imported.variables["params"]["frontend"]["decoder_low"]
    assert np.std(decoder["deconv"]["kernel"]) > 0
    assert any("decoder_low" in line for line in released.imported.report)
    assert any("decoder_high" in line for line in released.imported.report)


def test_the_released_network_is_that_of_its_config(released):
    settings = settings_from_config(vgg16_config.get_config("released"))
    assert released.imported.model == settings.model


def test_a_batch_norm_that_summed_nothing_has_zeros():
    np.testing.assert_array_equal(
        from_running_sum(np.ones(3, np.float32), np.zeros(1, np.float32)), np.zeros(3)
    )


@pytest.mark.slow  # half a gigabyte of weights; the released network has the same layers twice
def test_vgg16(tmp_path):
    compared = compare(vgg16(224), "vgg16", (103.939, 116.779, 123.68), tmp_path, old=True)
    convs = [name for name in compared.outputs if name.startswith("backbone/conv")]
    assert len(convs) == 13
    for name in convs:
        compared.check(name, name.removeprefix("backbone/"))
    compared.check("backbone", "pool5")
    compared.check("scores", "fc8")


@pytest.mark.slow
def test_resnet50(tmp_path):
    compared = compare(
        resnet50(224), "resnet50", (103.0626, 115.9029, 123.1516), tmp_path, old=False
    )
    compared.check("backbone/stem_norm", "scale_conv1")
    blocks = [
        f"{stage}{block}"
        for stage, count in ((2, 3), (3, 4), (4, 6), (5, 3))
        for block in "abcdef"[:count]
    ]
    for name in blocks:
        ours = f"backbone/stage{int(name[0]) - 1}_block{'abcdef'.index(name[1]) + 1}"
        compared.check(f"{ours}/norm1", f"scale{name}_branch2a")
        compared.check(ours, f"res{name}_relu")
    compared.check("scores", "fc1000")
