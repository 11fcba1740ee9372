"""VGG16 on ImageNet, after the paper.

    python train.py --config=configs/vgg16.py --workdir=runs/vgg16             (or :wae)
    python train.py --config=configs/vgg16.py:full --workdir=runs/vgg16-full

Variants: wae (three stages), released (the same with the input convention of the authors' published
network: BGR 0..255, no mean), full and lowres (the baselines at 224 and 112 pixels, with
4096-wide FC layers), wae-fast, lowres-SIZE, stem, wavelet-cdf97, wavelet-haar, space-to-depth,
decomposition, wae-early, haar-early, cdf97-early, space-to-depth-early (see
wae_jax/methods.py), smoke (a few real 224-pixel steps of all three stages on 20 photos that are
fetched on first use).

Expected time: not measured on ImageNet yet.
Expected result, from the paper (top-5 error, one view, started from pretrained weights): full
11.65 %, lowres 15.73 %, wae 11.87 %. Not reproduced here yet.
"""

from wae_jax.config import ConfigDict, default_config
from wae_jax.methods import set_method, smoke


def get_config(variant: str = "wae") -> ConfigDict:
    """``variant``: one of the docstring's."""
    config = default_config()  # its defaults are this network: see there
    if variant == "released":
        config.model.input.update(channel_order="BGR", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        # L_t is in squared input units: about 57**2 larger than with unit-variance inputs.
        config.losses.gamma = 0.001 / 57**2
        return config
    if variant == "smoke":
        return smoke(config)
    return set_method(config, variant)
