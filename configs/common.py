"""Every key that a config can have, with its default. The other configs change some of them.

Run nothing with this file alone. Any key can be set on the command line, for example
``--config.stages.joint.epochs=3``; an unknown key is an error.
"""

import ml_collections


def _stage(**changes) -> ml_collections.ConfigDict:
    """One training stage."""
    stage = ml_collections.ConfigDict()
    stage.epochs = 1.0  # length in passes over the training split; may be fractional
    stage.steps = 0  # length in steps instead, where above 0
    stage.batch_size = 256  # global batch, over all devices and processes
    stage.trains = ".*"  # regular expression on parameter paths; the rest is frozen, bit for bit
    stage.classification = True  # the classification loss L_c takes part
    stage.transform = True  # the transform loss L_t takes part (front ends with a decoder)
    stage.optimizer = "sgd"  # sgd | adam | adamw
    stage.learning_rate = 0.01  # peak
    stage.momentum = 0.9  # sgd only
    stage.nesterov = False  # sgd only
    stage.weight_decay = 5e-4  # in the gradient for sgd and adam, decoupled for adamw
    stage.decay_biases = True  # also on biases and norm scales
    stage.schedule = "constant"  # constant | step | cosine | linear
    stage.warmup_epochs = 0.0  # linear warm-up before the schedule
    stage.step_epochs = 10.0  # step: every so many epochs ...
    stage.step_factor = 0.1  # ... times this
    stage.final_fraction = 0.0  # cosine and linear: last rate over peak
    stage.clip_norm = 0.0  # clip the gradient's global norm; 0 is off
    stage.update(changes)
    return stage


def _backbone(**changes) -> ml_collections.ConfigDict:
    backbone = ml_collections.ConfigDict()
    backbone.name = "vgg16"  # vgg11|13|16|19, vgg, resnet18|34|50|101|152, or "module:Class"
    backbone.width = 1.0  # factor on all filters
    backbone.plan = ""  # "vgg" only: conv widths and M for pools, as in "32 32 M 64 64 M"
    backbone.batch_norm = False  # VGG only
    backbone.pool_rounding = "up"  # VGG only: odd sizes round up (Caffe) | down (PyTorch)
    backbone.norm_epsilon = 1e-5  # of its batch norms
    backbone.stem = "imagenet"  # ResNet only: imagenet | small (for 32-pixel images)
    backbone.stem_pool = "pad"  # ResNet: pad (PyTorch, Keras) | ceil (Caffe: no pad, rounds up)
    backbone.stride_on = "3x3"  # ResNet's bottlenecks: 3x3 (PyTorch) | 1x1 (Keras, Caffe)
    backbone.kwargs = ml_collections.ConfigDict()  # "module:Class" only: its fields
    backbone.update(changes)
    return backbone


def get_config() -> ml_collections.ConfigDict:
    """All keys at their defaults, locked against unknown ones."""
    config = ml_collections.ConfigDict()
    config.seed = 0  # of the initial weights, the data order, the augmentation and dropout
    config.restore = ""  # start from this checkpoint's weights (a workdir or one step's directory)
    config.init = init = ml_collections.ConfigDict()
    init.pretrained = ""  # start the L branch from a full-resolution network: checkpoint or file
    init.source = ""  # whose file: torchvision | timm | keras | caffe; empty: a checkpoint
    init.light = "fresh"  # the H branch: fresh | slim (the strongest filters of the network)

    config.model = model = ml_collections.ConfigDict()
    model.dtype = "float32"  # of the computation: float32 | bfloat16; parameters stay float32
    model.input = ml_collections.ConfigDict()
    model.input.channel_order = "RGB"  # RGB | BGR
    model.input.mean = (123.675, 116.28, 103.53)  # per channel in that order, on the 0..255 scale
    model.input.std = (58.395, 57.12, 57.375)

    model.frontend = frontend = ml_collections.ConfigDict()
    frontend.name = "wae"  # identity | downsample | wavelet | wae
    frontend.levels = 1  # halvings of the image side: 1 | 2 (all but identity)
    frontend.wavelet = "cdf97"  # wavelet only: cdf97 | haar
    # The rest is for wae. The defaults are the released network's encoder.
    frontend.encoder = "paper"  # paper (convs at full resolution) | polyphase (4x cheaper and more)
    frontend.channels = 16  # of the encoder's trunk
    frontend.depth = 3  # convs in the encoder's trunk
    frontend.activation = "relu"  # of the encoder's trunk: relu | none
    frontend.padding = "zero"  # paper encoder: zero (at each conv) | reflect (once)
    frontend.normalise = True  # batch norm without scale and shift on each sub-image
    frontend.decoder = "paper"  # paper | polyphase (cheaper to train)
    frontend.decoder_channels = 16
    frontend.decoder_activation = "none"  # the paper shows none

    model.backbone = _backbone()  # reads I_L
    model.light = _backbone(name="", width=0.25)  # reads I_H; no name: as backbone, times width
    model.head = ml_collections.ConfigDict()
    model.head.kind = "fc"  # fc | pool (global average pooling and a linear layer)
    model.head.hidden_single = (4096, 4096)  # fc: hidden sizes where there is one branch only
    model.head.hidden_low = (1024, 1024)  # fc: hidden sizes of the head on the low features
    model.head.hidden_fused = (2048, 2048)  # fc: hidden sizes of the head on both
    model.head.dropout = 0.5

    config.losses = losses = ml_collections.ConfigDict()
    losses.gamma = 0.001  # L = L_c + gamma * L_t
    losses.energy_weight = 1.0  # lambda in L_t = l_r + lambda * l_e
    losses.reduction = "caffe"  # of l_r and l_e: caffe (sum / 2N) | mean (over pixels)
    losses.label_smoothing = 0.0
    losses.auxiliary_low = 0.0  # weight of an extra cross-entropy on the low branch's score
    losses.auxiliary_fused = 0.0  # and on the fused score

    # Distillation, in the stages with a classification loss: the network also learns the scores of
    # a trained one on the same images. L_c becomes (1 - weight) L_c + weight T^2 KL(teacher || it).
    config.distill = distill = ml_collections.ConfigDict()
    distill.teacher = ""  # its checkpoint (a workdir or one step's directory); empty: off
    distill.temperature = 4.0  # T, softens both score distributions
    distill.weight = 0.5  # 0..1; label smoothing belongs to L_c alone

    # Which stages run, in order: the paper's three, or "end_to_end" alone (see set_method).
    config.run_stages = ("autoencoder", "classifier", "joint")
    config.stages = ml_collections.ConfigDict()
    # Settings of the three stages: second-hand, from public re-implementations of the paper.
    config.stages.autoencoder = _stage(
        trains="frontend/",
        classification=False,
        batch_size=4,
        epochs=30.0,
        optimizer="adam",
        learning_rate=1e-6,
        schedule="step",
        step_epochs=10.0,
    )
    config.stages.classifier = _stage(
        trains="(?!frontend/)", transform=False, epochs=30.0, schedule="step"
    )
    config.stages.joint = _stage(epochs=10.0, learning_rate=1e-3, schedule="step")
    # Everything on L_c alone: the baselines, wavelets, and "decomposition".
    config.stages.end_to_end = _stage(
        transform=False, epochs=70.0, schedule="step", step_epochs=20.0
    )
    config.ema_decay = 0.0  # evaluate a running average of the parameters; 0 is off

    config.data = data = ml_collections.ConfigDict()
    # A TFDS data set in ArrayRecord files; cifar10 prepares itself; folder: photos in data_dir.
    data.name = "imagenet2012"
    # Where TFDS data sets are; empty: TFDS_DATA_DIR or ~/tensorflow_datasets. For name "folder" the
    # folder of the photos, SPLIT/CLASS/PHOTO.jpg.
    data.data_dir = ""
    data.cache_dir = ""  # where downloads go; empty: WAE_JAX_CACHE or .cache/wae_jax
    data.train_split = "train"
    data.eval_split = "validation"
    data.image_size = 224
    data.augmentation = "imagenet"  # imagenet (random-resized-crop, flip) | small (pad-crop, flip)
    data.crop_padding = 4  # small: the most that a random crop is shifted, in pixels
    # More augmentation of the training images, after crop and flip; 0 is off.
    data.colour_jitter = jitter = ml_collections.ConfigDict()
    jitter.brightness = 0.0  # strengths: factors are drawn from 1 - strength .. 1 + strength
    jitter.contrast = 0.0
    jitter.saturation = 0.0
    jitter.hue = 0.0  # 0..0.5: the largest turn, as a fraction of the colour circle
    data.rand_augment = ml_collections.ConfigDict()
    data.rand_augment.ops = 0  # random operations per image
    data.rand_augment.magnitude = 9.0  # their strength, 0..30
    # Stages with a classification loss only; with both on, each pair of images gets either.
    data.mixup = 0.0  # alpha of Beta(alpha, alpha), from which the share is drawn
    data.cutmix = 0.0  # the same for cutmix
    data.eval_batch_size = 64
    data.workers = 0  # worker processes that decode and augment; 0: threads of the main process
    # A record that cannot be read or decoded, or whose label is no class: error (stop and name it)
    # | skip (count it; in training another record takes its place, in evaluation none).
    data.bad_records = "error"

    config.parallel = parallel = ml_collections.ConfigDict()
    parallel.mode = "jit"  # jit (a mesh) | pmap
    parallel.devices = 0  # how many devices; 0: all
    parallel.coordinator = ""  # host:port of process 0 in a multi-process run; empty: one process
    parallel.num_processes = 1
    parallel.process_id = 0

    config.log_every = 50  # steps between lines in metrics.jsonl
    config.checkpoint_every = 1000  # steps between checkpoints; also at the end of each stage
    config.keep_checkpoints = 2
    config.eval_every_epochs = 0.0  # evaluate during a stage; always at each stage's end
    config.lock()
    return config


METHODS = ("full", "lowres", "wae", "wae-fast", "wavelet-cdf97", "wavelet-haar", "decomposition")


def set_method(config: ml_collections.ConfigDict, method: str) -> ml_collections.ConfigDict:
    """Turns a config whose front end is the one for "wae" into that of another method.

    full and lowres are the baselines; wae-fast has an encoder that folds into one strided conv;
    decomposition is wae trained on the classification loss alone (paper, "Decomposition+CNN").

    Raises:
        ValueError: no such method.
    """
    frontend = config.model.frontend
    if method not in METHODS:
        raise ValueError(f"no variant {method!r}; there are: {', '.join(METHODS)}")
    if method == "full":
        frontend.name = "identity"
    elif method == "lowres":
        frontend.name = "downsample"
    elif method.startswith("wavelet-"):
        frontend.update(name="wavelet", wavelet=method.removeprefix("wavelet-"))
    elif method == "wae-fast":
        frontend.update(encoder="polyphase", activation="none", depth=1, channels=24)
        config.model.light.width /= 2
    if not method.startswith("wae"):
        config.run_stages = ("end_to_end",)
    return config


def smoke(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Turns ``config`` into a few steps of each stage on 20 labelled ImageNet photos."""
    config.data.update(name="foolbox_photos", eval_batch_size=10, workers=0)
    for stage in config.stages.values():
        # Four photos from scratch: a rate at which the loss stays finite is all one can ask.
        stage.update(steps=3, batch_size=4, learning_rate=1e-4)
    config.update(log_every=1, checkpoint_every=1000, keep_checkpoints=1)
    return config
