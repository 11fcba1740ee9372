"""Writes fixtures/torchvision.json: what torchvision and timm compute with seeded weights.

    pip install torch torchvision timm numpy
    python tests/pretrained/make_torchvision_fixtures.py

Made with torch 2.13, torchvision and timm of the same time (see "versions" in the file).
"""

import json
from pathlib import Path

import numpy as np
import seeded
import timm
import torch
import torchvision

NUM_CLASSES = 50
# (library, model): images, side in pixels. Odd sizes show how strides and pools round. A VGG here
# pools its features to 7x7, which changes nothing at 224 only.
COMPUTED = {
    ("torchvision", "vgg16"): (1, 224),
    ("torchvision", "vgg16_bn"): (1, 224),
    ("torchvision", "resnet18"): (2, 97),
    ("torchvision", "resnet50"): (2, 97),
    ("torchvision", "resnet152"): (2, 97),
    ("timm", "vgg11_bn"): (1, 224),
}
VGGS = [f"vgg{depth}{suffix}" for depth in (11, 13, 16, 19) for suffix in ("", "_bn")]
RESNETS = [f"resnet{depth}" for depth in (18, 34, 50, 101, 152)]


def make(library: str, model: str) -> torch.nn.Module:
    if library == "timm":
        return timm.create_model(model, num_classes=NUM_CLASSES).eval()
    return getattr(torchvision.models, model)(num_classes=NUM_CLASSES).eval()


def watched(network: torch.nn.Module, model: str) -> dict[str, torch.nn.Module]:
    """Our name of a layer -> the module with the same output."""
    if model.startswith("resnet"):
        blocks = {
            f"stage{stage}_block{i + 1}": block
            for stage in range(1, 5)
            for i, block in enumerate(getattr(network, f"layer{stage}"))
        }
        return {"stem_norm": network.bn1, **blocks}
    kind = torch.nn.BatchNorm2d if model.endswith("_bn") else torch.nn.Conv2d
    found, block, index = {}, 1, 0
    for layer in network.features:
        if isinstance(layer, torch.nn.MaxPool2d):
            block, index = block + 1, 0
        elif isinstance(layer, kind):
            index += 1
            found[f"{'norm' if model.endswith('_bn') else 'conv'}{block}_{index}"] = layer
    return found


def compute(library: str, model: str, count: int, size: int) -> dict:
    network = make(library, model)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(
        {
            name: torch.tensor(0)
            if name.endswith("num_batches_tracked")
            else torch.from_numpy(seeded.weights(name, shape))
            for name, shape in shapes.items()
        }
    )
    digests = {}

    def watch(name):
        def hook(module, inputs, output):  # now: a ReLU in place follows
            digests[name] = seeded.digest(output.permute(0, 2, 3, 1).numpy())

        return hook

    for name, layer in watched(network, model).items():
        layer.register_forward_hook(watch(name))
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    images = torch.from_numpy(seeded.images(count, size)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        logits = network((images - mean) / std).numpy()
    return {
        "images": [count, size],
        "shapes": shapes,
        "digests": digests,
        "logits": [[float(f"{x:.8g}") for x in row] for row in logits],
    }


def main() -> None:
    libraries = {"torchvision": torchvision, "timm": timm}
    content = {
        "versions": {
            "torch": torch.__version__,
            **{name: module.__version__ for name, module in libraries.items()},
        },
        "key_hashes": {
            f"{library} {model}": seeded.key_hash(
                [n for n in make(library, model).state_dict() if "num_batches" not in n]
            )
            for library in libraries
            for model in VGGS + RESNETS
        },
        "computed": {
            f"{library} {model}": compute(library, model, *images)
            for (library, model), images in COMPUTED.items()
        },
    }
    for name, result in content["computed"].items():
        print(name, "largest logit", np.abs(result["logits"]).max())
    path = Path(__file__).parent / "fixtures" / "torchvision.json"
    path.write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
