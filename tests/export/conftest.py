"""Networks with weights as after training, and their files beside them."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import pytest

from wae_jax import data
from wae_jax.config import settings_from_config
from wae_jax.export import formats
from wae_jax.export.formats import Network
from wae_jax.export.runtimes import open_openvino
from wae_jax.inference.fold import for_inference
from wae_jax.models.classifier import build_model, scores_of, variable_shapes


def trained(model, size: int):
    """Variables as after training, drawn here: to compile their initialisation takes longer."""
    rng = np.random.default_rng(0)

    def draw(path, x):
        noise = rng.standard_normal(x.shape, np.float32)
        name = path[-1].key
        if name == "kernel":
            return noise * np.sqrt(2 / np.prod(x.shape[:-1]), dtype=np.float32)
        return 0.5 + np.abs(noise) if name == "var" else (name == "scale") + 0.1 * noise

    return jax.tree.map_with_path(draw, variable_shapes(model, size))


class Case:
    """A network, photos, and its scores of them."""

    def __init__(self, config, images: np.ndarray, folder: Path):
        self.images, self.folder = images, folder
        self.size = images.shape[1]
        settings = settings_from_config(config)
        self.model = build_model(settings.model, num_classes=10, image_size=self.size)
        self.variables = trained(self.model, self.size)
        scores = jax.jit(lambda v, x: scores_of(self.model, v, x))(self.variables, images)
        self.expected = np.asarray(scores)

    def write(self, kind: str, batch: int | None, metadata: dict[str, Any] | None = None) -> Path:
        model, variables = for_inference(self.model, self.variables, platform="cuda")
        path = self.folder / f"{batch}.{kind}"
        network = Network(model, variables, self.size, batch, metadata or {})
        formats.FORMATS[kind].write(network, path)
        return path

    def difference(self, kind: str, path: Path, count: int) -> float:
        """The largest between scores of ``count`` photos, over the largest score."""
        calls = [formats.FORMATS[kind].open(path)]
        if kind == "onnx":
            calls.append(open_openvino(path).call)
        return max(self._difference(call, count) for call in calls)

    def _difference(self, call, count: int) -> float:
        found, expected = call(self.images[:count]), self.expected[:count]
        odds = np.asarray(jax.nn.softmax(expected))
        assert np.abs(np.asarray(found["probabilities"]) - odds).max() < 1e-4
        return float(np.abs(np.asarray(found["scores"]) - expected).max() / np.abs(expected).max())

    def check(self, kind: str, *batches: int | None) -> Path:
        """Writes files for each batch (None: any) and compares them; the last one."""
        for batch in batches:
            path = self.write(kind, batch)
            for count in (batch,) if batch else (1, 7):
                assert self.difference(kind, path, count) < 1e-4
        return path


@pytest.fixture(scope="session")
def photos(cifar10):
    """Function of a size: seven photos (7, S, S, 3), CIFAR-10's or larger ones."""

    def photos(size: int) -> np.ndarray:
        if size > 32:
            source = data.open_source("foolbox_photos", "validation")
            transform = data.make_transform("imagenet", size, train=False)
        else:
            source = data.open_source("cifar10", "test")
            transform = None
        images, _ = data.DecodedRecords(source).read(np.arange(7))
        if transform is None:
            return np.stack(list(images))[:, :size, :size]
        return transform(images, np.zeros((7, 0)))

    return photos


@pytest.fixture
def case(photos, tmp_path):
    """Factory: ``case(config)``."""
    return lambda config: Case(config, photos(config.data.image_size), tmp_path)


@pytest.fixture(scope="session")
def operators():
    """Function: how often each operator is in an ONNX file."""

    def operators(path: Path) -> dict[str, int]:
        names = [node.op_type for node in onnx.load(path).graph.node]
        return {name: names.count(name) for name in names}

    return operators
