"""Every config key once: type, range, default and meaning, as fields of frozen dataclasses.

From them come the ConfigDict that config files change and command lines override
(:func:`default_config`), the typed settings that the package works with
(:func:`settings_from_config`) and the keys that an older checkpoint lacks (:func:`fill`).
A new key is one new field.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from ml_collections import ConfigDict

from wae_jax.errors import UserError
from wae_jax.schema.fields import Range, choose, one_of
from wae_jax.schema.trees import build, merge, plain

Fraction = Annotated[float, Range(0, 1)]
Above0 = Annotated[float, Range(0, open=True)]
NotNegative = Annotated[float, Range(0)]
Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
Activation = Annotated[str, one_of("relu", "none")]


@dataclasses.dataclass(frozen=True)
class FrontendSettings:
    name: str = "wae"  # identity | downsample | space-to-depth | wavelet | wae
    levels: Annotated[int, Range(1, 2)] = 1  # halvings of the image side (all but identity)
    size: Whole = 0  # downsample only: side of I_L in pixels, any below the image's; 0: by levels
    wavelet: Annotated[str, one_of("cdf97", "haar")] = "cdf97"  # wavelet only
    # The rest is for wae. The defaults are the released network's encoder.
    encoder: str = "paper"  # paper (convs at full resolution) | polyphase (4x cheaper and more)
    channels: Count = 16  # of the encoder's trunk
    depth: Whole = 3  # convs in the encoder's trunk
    high_channels: Count = 3  # of I_H
    activation: Activation = "relu"  # of the encoder's trunk
    # Paper encoder: zeros at each conv, or mirrored once.
    padding: Annotated[str, one_of("zero", "reflect")] = "zero"
    normalise: bool = True  # batch norm without scale and shift on each sub-image
    decoder: str = "paper"  # paper | polyphase (cheaper to train)
    decoder_channels: Count = 16
    decoder_activation: Activation = "none"  # the paper shows none


@dataclasses.dataclass(frozen=True)
class BackboneSettings:
    name: str = "vgg16"  # vgg11|13|16|19, vgg, resnet18|34|50|101|152, or "module:Class"
    width: Above0 = 1.0  # factor on all filters
    plan: str = ""  # "vgg" only: conv widths and M for pools, as in "32 32 M 64 64 M"
    # VGG and ResNet: convs that differ from the family's. widths: filters, whatever the factor, as
    # in "conv1_1=48 conv2_1=96", within a ResNet's block "stage1_block1/conv1=32", and of all that
    # write to a residual stream "stem=48 stage1=200". ranks: products of smaller convs, as
    # "conv1_2=16,24" (Tucker-2: ranks of input and output channels), "conv1_2=40" (CP, and for 1x1
    # the SVD) or "conv1_2=0,12,24" (columns, rows, then 1x1).
    widths: str = ""
    ranks: str = ""
    batch_norm: bool = False  # VGG only
    # VGG only: odd sizes round up (Caffe) or down (PyTorch)
    pool_rounding: Annotated[str, one_of("up", "down")] = "up"
    norm_epsilon: Above0 = 1e-5  # of its batch norms
    # Its first layers (VGG: conv1_1; ResNet: the stem) as they are, then features at half the side.
    halve_after_stem: bool = False
    stem: Annotated[str, one_of("imagenet", "small")] = "imagenet"  # ResNet: small for 32 pixels
    # ResNet: pad (PyTorch, Keras) | ceil (Caffe: no pad, rounds up)
    stem_pool: Annotated[str, one_of("pad", "ceil")] = "pad"
    # ResNet's bottlenecks: 3x3 (PyTorch) | 1x1 (Keras, Caffe)
    stride_on: Annotated[str, one_of("3x3", "1x1")] = "3x3"
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of "module:Class" only


@dataclasses.dataclass(frozen=True)
class HeadSettings:
    kind: Annotated[str, one_of("fc", "pool")] = "fc"  # pool: global average and a linear layer
    # fc: sizes of the hidden layers where there is one branch only,
    hidden_single: tuple[int, ...] = (4096, 4096)
    hidden_low: tuple[int, ...] = (1024, 1024)  # of the head on the low features,
    hidden_fused: tuple[int, ...] = (2048, 2048)  # and of the head on both
    dropout: Annotated[float, Range(0, 0.999)] = 0.5


@dataclasses.dataclass(frozen=True)
class InputSettings:
    channel_order: Annotated[str, one_of("RGB", "BGR")] = "RGB"
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)  # in that order, on the 0..255 scale
    std: tuple[float, ...] = (58.395, 57.12, 57.375)


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    # Of the computation; parameters stay float32.
    dtype: Annotated[str, one_of("float32", "bfloat16")] = "float32"
    input: InputSettings = InputSettings()
    frontend: FrontendSettings = FrontendSettings()
    # late: I_H goes to a light branch, and features are fused | early: the backbone's first conv
    # reads I_H beside I_L (with weights that start at zero), and there is no light branch.
    fusion: Annotated[str, one_of("late", "early")] = "late"
    backbone: BackboneSettings = BackboneSettings()  # reads I_L
    # Reads I_H; without a name: as backbone, times width.
    light: BackboneSettings = BackboneSettings(name="", width=0.25)
    head: HeadSettings = HeadSettings()


@dataclasses.dataclass(frozen=True)
class InitSettings:
    pretrained: str = ""  # start the L branch from a full-resolution network: checkpoint or file
    source: str = ""  # whose file: torchvision | timm | keras | caffe; empty: a checkpoint
    # How an auto-encoder starts: wavelet (I_L as the smaller image, I_H as its Haar details, the
    # decoder as the inverse, the fused head at zero: the network begins as plain low resolution) |
    # random | auto (wavelet where there is a pretrained network).
    frontend: Annotated[str, one_of("auto", "wavelet", "random")] = "auto"
    from_teacher: bool = False  # with distill.teacher: start from its weights, not pretrained's
    # The H branch: fresh, or slim (the strongest filters of the network).
    light: Annotated[str, one_of("fresh", "slim")] = "fresh"


@dataclasses.dataclass(frozen=True)
class LossSettings:
    gamma: NotNegative = 0.001  # L = L_c + gamma * L_t
    energy_weight: NotNegative = 1.0  # lambda in L_t = l_r + lambda * l_e
    # Adds low_weight * l_l to L_t: l_l is ||I_L - the half-resolution image||^2; 0 is off.
    low_weight: NotNegative = 0.0
    # Of l_r, l_e and l_l: caffe (sum / 2N) | mean (over pixels).
    reduction: Annotated[str, one_of("caffe", "mean")] = "caffe"
    label_smoothing: Annotated[float, Range(0, 0.999)] = 0.0
    auxiliary_low: NotNegative = 0.0  # weight of an extra cross-entropy on the low branch's score
    auxiliary_fused: NotNegative = 0.0  # and on the fused score


@dataclasses.dataclass(frozen=True)
class DistillSettings:
    """In the stages with a classification loss the network also learns from a teacher.

    L_c becomes (1 - weight) L_c + weight T^2 KL(teacher || network) + feature_weight l_f, on the
    same images. l_f is the mean square difference of the pooled features over their variance.
    """

    teacher: str = ""  # its checkpoint (a workdir or one step's directory); empty: off
    temperature: Above0 = 4.0  # T, softens both score distributions
    weight: Fraction = 0.5  # label smoothing belongs to L_c alone; 1: no labels but in auxiliaries
    feature_weight: NotNegative = 0.0  # of l_f; 0 is off
    # Of the teacher's computation; empty: as the teacher was trained.
    dtype: Annotated[str, one_of("", "float32", "bfloat16")] = ""


@dataclasses.dataclass(frozen=True)
class CompressSettings:
    """train.py makes a trained network smaller, and trains that on (docs/compress.md)."""

    # taylor | thinet | thinet-0.5 | thinet-gap | thinet-tiny | tucker | cp | asymmetric; empty: off
    method: str = ""
    macs: Fraction = 0.0  # of the network's MACs, what is kept; 0: the method's own rule, or ms
    # Or milliseconds of a call with one image here, in ONNX Runtime where it is installed.
    ms: NotNegative = 0.0
    # Of the trained network; empty: it is trained first as all else here says, in WORKDIR/base.
    checkpoint: str = ""
    images: Count = 512  # of the training split, by which filters and layers are judged
    streams: bool = False  # taylor: a ResNet's residual streams lose channels too
    # Then the last of run_stages, again: its length in passes and its peak rate; 0: the stage's.
    epochs: NotNegative = 0.0
    learning_rate: NotNegative = 0.0
    # At the end WORKDIR/int8.onnx, by ONNX Runtime's quantiser; with a method or without.
    int8: bool = False


@dataclasses.dataclass(frozen=True)
class StageSettings:
    epochs: NotNegative = 1.0  # length in passes over the training split; may be fractional
    steps: Whole = 0  # length in steps instead, where above 0
    batch_size: Count = 256  # global batch, over all devices and processes
    # Compute it in so many parts, one after the other, and add up their gradients: less memory,
    # the same result but for batch norm, whose statistics are then each part's own.
    accumulate: Count = 1
    # Of the backbones keep only what enters each block (ResNet's, or VGG's convs up to a pool) and
    # compute the rest again for the gradients: less memory, more time, the same result.
    rematerialise: bool = False
    trains: str = ".*"  # regular expression on parameter paths; the rest is frozen, bit for bit
    # Batch statistics of frozen parts move too (their norms run as in training), and trains may
    # match nothing: statistics re-estimated, as for another image size.
    statistics: bool = False
    classification: bool = True  # the classification loss L_c takes part
    transform: bool = True  # the transform loss L_t takes part (front ends with a decoder)
    optimizer: Annotated[str, one_of("sgd", "adam", "adamw")] = "sgd"
    learning_rate: NotNegative = 0.01  # peak
    # The peak grows with batch_size / reference_batch_size: linear (Goyal et al. 2017; with
    # warmup_epochs=5 there) | sqrt (its square root, as is usual for adam) | none.
    rate_scaling: Annotated[str, one_of("none", "linear", "sqrt")] = "none"
    reference_batch_size: Count = 256  # for which learning_rate is meant, with rate_scaling
    frontend_rate: NotNegative = 1.0  # times the learning rate, for the front end
    momentum: Annotated[float, Range(0, 0.99999)] = 0.9  # sgd only
    nesterov: bool = False  # sgd only
    weight_decay: NotNegative = 5e-4  # in the gradient for sgd and adam, decoupled for adamw
    decay_biases: bool = True  # also on biases and norm scales
    schedule: Annotated[str, one_of("constant", "step", "cosine", "linear")] = "constant"
    warmup_epochs: NotNegative = 0.0  # linear warm-up before the schedule
    step_epochs: Above0 = 10.0  # step: every so many epochs ...
    step_factor: Above0 = 0.1  # ... times this
    final_fraction: NotNegative = 0.0  # cosine and linear: last rate over peak
    clip_norm: NotNegative = 0.0  # clip the gradient's global norm; 0 is off

    @property
    def peak_rate(self) -> float:
        """The learning rate for this batch size, as ``rate_scaling`` says."""
        growth = self.batch_size / self.reference_batch_size
        power = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[self.rate_scaling]
        return self.learning_rate * growth**power


@dataclasses.dataclass(frozen=True)
class ColourJitterSettings:
    brightness: NotNegative = 0.0  # strengths: factors are drawn from 1 - strength .. 1 + strength
    contrast: NotNegative = 0.0
    saturation: NotNegative = 0.0
    hue: Annotated[float, Range(0, 0.5)] = 0.0  # the largest turn, a fraction of the colour circle


@dataclasses.dataclass(frozen=True)
class RandAugmentSettings:
    ops: Whole = 0  # random operations per image
    magnitude: Annotated[float, Range(0, 30)] = 9.0  # their strength


@dataclasses.dataclass(frozen=True)
class DataSettings:
    # A TFDS data set in ArrayRecord files; cifar10 and grocery prepare themselves; folder: photos
    # in data_dir.
    name: str = "imagenet2012"
    # Where TFDS data sets are; empty: TFDS_DATA_DIR or ~/tensorflow_datasets. For name "folder" the
    # folder of the photos, SPLIT/CLASS/PHOTO.jpg.
    data_dir: str = ""
    cache_dir: str = ""  # where downloads go; empty: WAE_JAX_CACHE or .cache/wae_jax
    train_split: str = "train"
    eval_split: str = "validation"
    image_size: Annotated[int, Range(1, 8192)] = 224
    # imagenet (random-resized-crop, flip) | small (pad-crop, flip)
    augmentation: Annotated[str, one_of("imagenet", "small")] = "imagenet"
    crop_padding: Whole = 4  # small: the most that a random crop is shifted, in pixels
    # imagenet: the least area of a random crop, over the photo's (torchvision's scale[0]).
    min_crop_area: Annotated[float, Range(0.001, 1)] = 0.08
    # More augmentation of the training images, after crop and flip; 0 is off.
    colour_jitter: ColourJitterSettings = ColourJitterSettings()
    rand_augment: RandAugmentSettings = RandAugmentSettings()
    # Stages with a classification loss only; with both on, each pair of images gets either.
    mixup: NotNegative = 0.0  # alpha of Beta(alpha, alpha), from which the share is drawn
    cutmix: NotNegative = 0.0  # the same for cutmix
    # Turn photos upright as their Exif says, in training, evaluation and prediction.
    exif_orientation: bool = True
    # Larger images are refused before they are decoded, as bad records; default: Pillow's limit.
    max_pixels: Count = 178_956_970
    eval_batch_size: Count = 64
    workers: Whole = 0  # processes that decode and augment; 0: threads of the main process
    # A record that cannot be read or decoded, or whose label is no class: error (stop and name it)
    # | skip (count it; in training another record takes its place, in evaluation none).
    bad_records: Annotated[str, one_of("error", "skip")] = "error"


@dataclasses.dataclass(frozen=True)
class ParallelSettings:
    mode: Annotated[str, one_of("jit", "pmap")] = "jit"  # jit: on a mesh of devices
    devices: Whole = 0  # how many devices; 0: all
    # Each device keeps its share of the optimiser's state and updates that (ZeRO-1); jit only.
    shard_optimizer: bool = False
    # host:port of process 0 in a run of several; auto: as jax finds out; empty: one process, or as
    # SLURM or a Cloud TPU pod started them.
    coordinator: str = ""
    num_processes: Count = 1
    process_id: Whole = 0
    # Of several processes: after so many seconds without a sign of life one counts as lost.
    timeout_s: Count = 60


def _default_stages() -> dict[str, StageSettings]:
    """The paper's three; their settings are second-hand, from public re-implementations."""
    return {
        "autoencoder": StageSettings(
            trains="frontend/",
            classification=False,
            batch_size=4,
            epochs=30.0,
            optimizer="adam",
            learning_rate=1e-6,
            schedule="step",
        ),
        "classifier": StageSettings(
            trains="(?!frontend/)", transform=False, epochs=30.0, schedule="step"
        ),
        "joint": StageSettings(epochs=10.0, learning_rate=1e-3, schedule="step"),
        # Everything on L_c alone: the baselines, wavelets, and "decomposition".
        "end_to_end": StageSettings(
            transform=False, epochs=70.0, schedule="step", step_epochs=20.0
        ),
    }


@dataclasses.dataclass(frozen=True)
class Settings:
    # Of the initial weights, the data order, the augmentation and dropout.
    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    restore: str = ""  # start from this checkpoint's weights (a workdir or one step's directory)
    init: InitSettings = InitSettings()
    model: ModelSettings = ModelSettings()
    losses: LossSettings = LossSettings()
    distill: DistillSettings = DistillSettings()
    compress: CompressSettings = CompressSettings()
    # Which stages run, in order: the paper's three, or "end_to_end" alone (see methods.py).
    run_stages: tuple[str, ...] = ("autoencoder", "classifier", "joint")
    stages: Mapping[str, StageSettings] = dataclasses.field(default_factory=_default_stages)
    # Evaluate a running average of the weights and batch statistics, begun anew in each stage.
    ema_decay: Annotated[float, Range(0, 0.999999)] = 0.0
    data: DataSettings = DataSettings()
    parallel: ParallelSettings = ParallelSettings()
    log_every: Count = 50  # steps between lines in metrics.jsonl
    checkpoint_every: Count = 1000  # steps between checkpoints; also at the end of each stage
    checkpoint_minutes: NotNegative = 0.0  # also when the last is so old; 0: by steps alone
    keep_checkpoints: Count = 2
    keep_best: bool = False  # also the checkpoint with the best top1 of all evaluated ones
    # A loss that is no finite number: stop | skip (such a step changes nothing) | rollback (to the
    # last checkpoint, and on with another data order).
    on_nan: Annotated[str, one_of("stop", "skip", "rollback")] = "stop"
    nan_limit: Count = 10  # skip: steps, rollback: times, of the whole run; then it stops
    eval_every_epochs: NotNegative = 0.0  # evaluate during a stage; always at each stage's end

    @property
    def running_stages(self) -> tuple[tuple[str, StageSettings], ...]:
        """``(name, settings)`` of the stages that run, in order."""
        return tuple((name, self.stages[name]) for name in self.run_stages)


def default_config() -> ConfigDict:
    """All keys at their defaults, locked against unknown ones."""
    return ConfigDict(plain(Settings())).lock()


def settings_from_config(config: ConfigDict | Mapping[str, Any]) -> Settings:
    """The typed settings of a whole config, every value checked.

    Raises:
        UserError: a key too few or too many, a value of another type or out of its range, or a
            stage that does not exist.
    """
    if isinstance(config, ConfigDict):
        config = config.to_dict()
    settings = build(Settings, config, "config")
    if not settings.run_stages:
        raise UserError("config.run_stages is empty; name at least one stage")
    for name in settings.run_stages:
        choose("run_stages", name, settings.stages)
    return settings


def as_dict(settings: Settings) -> dict[str, Any]:
    """Settings as a nested dict of JSON's types, the inverse of :func:`settings_from_config`."""
    return plain(settings, sequence=list)


def fill(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as JSON keeps it, with the default of every key that it lacks."""
    defaults = as_dict(Settings())
    stages = {"stages": {}, **config}["stages"]
    own = stages.keys() - defaults["stages"].keys() if isinstance(stages, Mapping) else ()
    fresh = plain(StageSettings(), sequence=list)
    defaults["stages"] |= {name: fresh for name in own}  # stages that a config file added
    return merge(defaults, config)
