"""Writes fixtures/keras.json: what Keras computes with seeded weights.

pip install keras torch numpy h5py
KERAS_BACKEND=torch python tests/pretrained/make_keras_fixtures.py
"""

import json
from pathlib import Path

import keras
import numpy as np
import seeded

NUM_CLASSES = 50
# model: images, side in pixels, our names of layers -> Keras's.
RESNET50 = {"stem_norm": "conv1_bn"} | {
    f"stage{stage}_block{block}": f"conv{stage + 1}_block{block}_out"
    for stage, count in enumerate((3, 4, 6, 3), start=1)
    for block in range(1, count + 1)
}
COMPUTED = {"resnet50": (2, 97, RESNET50), "vgg16": (1, 224, {})}


def compute(model: str, count: int, size: int, layers: dict[str, str]) -> dict:
    network = {"resnet50": keras.applications.ResNet50, "vgg16": keras.applications.VGG16}[model](
        weights=None, classes=NUM_CLASSES, input_shape=(size, size, 3), classifier_activation=None
    )
    shapes = {}
    for layer in network.layers:
        for weight in layer.weights:
            name = f"{layer.name}/{weight.name}"
            shapes[name] = tuple(weight.shape)
            weight.assign(seeded.weights(name, shapes[name], outputs_last=True))
    images = keras.applications.resnet.preprocess_input(
        seeded.images(count, size).astype(np.float32)
    )
    outputs = [network.get_layer(name).output for name in layers.values()]
    features = keras.Model(network.input, [network.output, *outputs]).predict(images, verbose=0)
    logits, *features = features if layers else [features]
    return {
        "images": [count, size],
        "shapes": shapes,
        "digests": {ours: seeded.digest(x) for ours, x in zip(layers, features, strict=True)},
        "logits": [[float(f"{x:.8g}") for x in row] for row in logits],
    }


def main() -> None:
    content = {
        "versions": {"keras": keras.__version__},
        "computed": {model: compute(model, *options) for model, options in COMPUTED.items()},
    }
    for name, result in content["computed"].items():
        print(name, "largest logit", np.abs(result["logits"]).max())
    (Path(__file__).parent / "fixtures" / "keras.json").write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
