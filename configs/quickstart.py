"""CIFAR-10: full resolution, low resolution and WAE on the same small VGG.

    make quickstart                                                   all three, and a table
    python train.py --config=configs/quickstart.py:wae-early --workdir=runs/wae-early     WAE alone

Variants: wae (the paper's two branches in its three stages; the default), wae-early (starts as the
smaller image and its Haar details; one stage, in which I_L is held to an image) and the other
methods of wae_jax/methods.py: wae-fast, full, lowres, lowres-SIZE, stem, wavelet-cdf97,
wavelet-haar, space-to-depth, decomposition, haar-early, cdf97-early, space-to-depth-early. All pass
4.8 times over the training set.

Expected time and result on two CPU cores: see docs/results.md.
"""

from wae_jax.config import ConfigDict, default_config
from wae_jax.methods import set_method


def get_config(variant: str = "wae") -> ConfigDict:
    """``variant``: one of the docstring's."""
    config = default_config()
    # Few epochs: light augmentation.
    config.data.update(
        name="cifar10",
        eval_split="test",
        image_size=32,
        augmentation="small",
        crop_padding=2,
        eval_batch_size=500,
    )
    config.model.input.update(mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7))
    # No conv sees less than 4x4: XLA's CPU convs are slow on smaller images.
    config.model.backbone.update(name="vgg", plan="32 M 48 64 M 128 128", batch_norm=True)
    config.model.light.width = 0.5
    config.model.head.update(kind="pool", dropout=0.0)
    config.model.frontend.update(
        encoder="polyphase", channels=32, depth=2, decoder="polyphase", decoder_activation="relu"
    )
    config.losses.update(gamma=0.01, reduction="mean", label_smoothing=0.1)
    stages = config.stages
    for stage in stages.values():
        stage.update(
            batch_size=128, decay_biases=False, learning_rate=0.15, nesterov=True, clip_norm=1.0
        )
    stages.autoencoder.update(
        epochs=0.2, optimizer="adam", learning_rate=2e-3, schedule="cosine", weight_decay=0.0
    )
    stages.classifier.update(epochs=0.15, schedule="constant", warmup_epochs=0.1)
    stages.joint.update(epochs=4.45, schedule="linear", warmup_epochs=0.3)
    stages.end_to_end.update(epochs=4.8, schedule="linear", warmup_epochs=0.3)
    if variant == "wae-early":
        config.init.frontend = "wavelet"
        config.run_stages = ("joint",)
        config.losses.update(gamma=0.3, low_weight=1.0)
        stages.joint.update(epochs=4.8, frontend_rate=0.2)
    return set_method(config, variant)
