"""The methods that are compared, as changes to a config whose front end is the one for "wae"."""

import re

from ml_collections import ConfigDict

from wae_jax.schema.fields import hint

METHODS = (
    "full",
    "lowres",
    "stem",
    "wae",
    "wae-fast",
    "wavelet-cdf97",
    "wavelet-haar",
    "space-to-depth",
    "decomposition",
    "wae-early",
    "cdf97-early",
    "haar-early",
    "space-to-depth-early",
)
LOWRES = re.compile(r"lowres-(\d+)")  # and, as methods too, low resolution at any side in pixels
EARLY = "-early"
# What the encoder that folds into one strided conv looks like.
FAST = {"encoder": "polyphase", "activation": "none", "depth": 1, "channels": 24}


def set_method(config: ConfigDict, method: str) -> ConfigDict:
    """Turns a config into that of another method, in place, and returns it.

    full and lowres are the baselines; stem is full with features halved after the first layers;
    wae-fast has an encoder that folds into one strided conv; space-to-depth reads the mean of 2x2
    pixels and their differences from it; decomposition is wae trained on the classification loss
    alone (paper, "Decomposition+CNN"). In methods that end in -early the backbone's first conv
    reads both sub-images: wae-early is wae-fast so, with as many channels of detail as a wavelet.

    Raises:
        ValueError: no such method.
    """
    frontend = config.model.frontend
    side = LOWRES.fullmatch(method)
    if side and 0 < int(side[1]) < config.data.image_size:
        frontend.update(name="downsample", size=int(side[1]))
    elif method not in METHODS:
        raise ValueError(
            f"no variant {method!r}{hint(method, METHODS)}; there are: "
            f"{', '.join(METHODS)}, and lowres-SIZE with any size below the image's "
            f"{config.data.image_size} pixels"
        )
    elif method == "full":
        frontend.name = "identity"
    elif method == "lowres":
        frontend.name = "downsample"
    elif method == "stem":
        frontend.name = "identity"
        config.model.backbone.halve_after_stem = True
    elif method.endswith(EARLY):
        config.model.fusion = "early"
        _set_early_frontend(frontend, method.removesuffix(EARLY))
    elif method.startswith("wavelet-"):
        frontend.update(name="wavelet", wavelet=method.removeprefix("wavelet-"))
    elif method == "space-to-depth":
        frontend.name = method
    elif method == "wae-fast":
        frontend.update(FAST)
        config.model.light.width /= 2
    if not method.startswith("wae"):
        config.run_stages = ("end_to_end",)
    return config


def _set_early_frontend(frontend: ConfigDict, kind: str) -> None:
    if kind == "wae":
        frontend.update(FAST, high_channels=9)
    elif kind == "space-to-depth":
        frontend.name = kind
    else:
        frontend.update(name="wavelet", wavelet=kind)


def smoke(config: ConfigDict) -> ConfigDict:
    """Turns a config into a few steps of each stage on 20 labelled ImageNet photos."""
    config.data.update(name="foolbox_photos", eval_batch_size=10, workers=0)
    for stage in config.stages.values():
        # Four photos from scratch: a rate at which the loss stays finite is all one can ask.
        stage.update(steps=3, batch_size=4, learning_rate=1e-4)
    config.update(log_every=1, checkpoint_every=1000, keep_checkpoints=1)
    return config
