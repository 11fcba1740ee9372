"""What each part needs to know, as frozen dataclasses; filled from the config at the entry.

The fields are exactly the keys of ``configs/common.py``, where each is explained. No defaults
live here: a key that a config lacks, or has too many, is an error.
"""

import dataclasses
import difflib
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from wae_jax.errors import UserError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class FrontendSettings:
    name: str
    encoder: str
    channels: int
    depth: int
    activation: str
    padding: str
    normalise: bool
    levels: int
    wavelet: str
    decoder: str
    decoder_channels: int
    decoder_activation: str


@dataclasses.dataclass(frozen=True)
class BackboneSettings:
    name: str
    width: float
    plan: str
    batch_norm: bool
    pool_rounding: str
    norm_epsilon: float
    stem: str
    stem_pool: str
    stride_on: str
    kwargs: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class HeadSettings:
    kind: str
    hidden_single: tuple[int, ...]
    hidden_low: tuple[int, ...]
    hidden_fused: tuple[int, ...]
    dropout: float


@dataclasses.dataclass(frozen=True)
class InputSettings:
    channel_order: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    input: InputSettings
    frontend: FrontendSettings
    backbone: BackboneSettings
    light: BackboneSettings
    head: HeadSettings
    dtype: str


@dataclasses.dataclass(frozen=True)
class InitSettings:
    pretrained: str
    source: str
    light: str


@dataclasses.dataclass(frozen=True)
class LossSettings:
    gamma: float
    energy_weight: float
    reduction: str
    label_smoothing: float
    auxiliary_low: float
    auxiliary_fused: float


@dataclasses.dataclass(frozen=True)
class DistillSettings:
    teacher: str
    temperature: float
    weight: float


@dataclasses.dataclass(frozen=True)
class StageSettings:
    name: str
    epochs: float
    steps: int
    batch_size: int
    trains: str
    classification: bool
    transform: bool
    optimizer: str
    learning_rate: float
    momentum: float
    nesterov: bool
    weight_decay: float
    decay_biases: bool
    schedule: str
    warmup_epochs: float
    step_epochs: float
    step_factor: float
    final_fraction: float
    clip_norm: float


@dataclasses.dataclass(frozen=True)
class ColourJitterSettings:
    brightness: float
    contrast: float
    saturation: float
    hue: float


@dataclasses.dataclass(frozen=True)
class RandAugmentSettings:
    ops: int
    magnitude: float


@dataclasses.dataclass(frozen=True)
class DataSettings:
    name: str
    data_dir: str
    cache_dir: str
    train_split: str
    eval_split: str
    image_size: int
    augmentation: str
    crop_padding: int
    colour_jitter: ColourJitterSettings
    rand_augment: RandAugmentSettings
    mixup: float
    cutmix: float
    eval_batch_size: int
    workers: int
    bad_records: str


@dataclasses.dataclass(frozen=True)
class ParallelSettings:
    mode: str
    devices: int
    coordinator: str
    num_processes: int
    process_id: int


@dataclasses.dataclass(frozen=True)
class Settings:
    seed: int
    restore: str
    init: InitSettings
    model: ModelSettings
    data: DataSettings
    losses: LossSettings
    distill: DistillSettings
    stages: tuple[StageSettings, ...]
    ema_decay: float
    parallel: ParallelSettings
    log_every: int
    checkpoint_every: int
    keep_checkpoints: int
    eval_every_epochs: float


def choose(key: str, name: str, options: Collection[str] | Mapping[str, T]) -> T:
    """``options[name]`` (or ``name`` itself), with an error that lists what there is.

    Raises:
        UserError: ``name`` is not one of ``options``.
    """
    if name not in options:
        close = difflib.get_close_matches(name, list(options), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise UserError(
            f"config.{key} is {name!r}{hint}; it must be one of: " + ", ".join(sorted(options))
        )
    return options[name] if isinstance(options, Mapping) else name


def _fill(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """A ``cls`` from a mapping with exactly its fields; nested dataclasses too."""
    fields = {f.name: f.type for f in dataclasses.fields(cls)}
    missing, extra = fields.keys() - values.keys(), values.keys() - fields.keys()
    if missing or extra:
        words = [
            f"{kind} {', '.join(sorted(names))}"
            for kind, names in (("lacks", missing), ("has unknown", extra))
            if names
        ]
        raise UserError(f"{where} {' and '.join(words)}")

    def convert(name, value):
        kind = fields[name]
        if dataclasses.is_dataclass(kind):
            return _fill(kind, value, f"{where}.{name}")
        if isinstance(value, list | tuple):
            return tuple(value)
        if kind is float and isinstance(value, int):
            return float(value)
        return value

    return cls(**{name: convert(name, value) for name, value in values.items()})


def model_settings(config: Mapping[str, Any]) -> ModelSettings:
    """``config["model"]`` (plain nested dict) as :class:`ModelSettings`."""
    return _fill(ModelSettings, config["model"], "config.model")


def init_settings(config: Mapping[str, Any]) -> InitSettings:
    """``config["init"]`` (plain dict) as :class:`InitSettings`."""
    return _fill(InitSettings, config["init"], "config.init")


def settings_from_config(config: Mapping[str, Any]) -> Settings:
    """The whole config (a plain nested dict) as :class:`Settings`.

    ``config["run_stages"]`` names which of ``config["stages"]`` run, in order.

    Raises:
        UserError: a key too few or too many, or a stage that does not exist.
    """
    values = dict(config)
    names = tuple(values.pop("run_stages"))
    table = values.pop("stages")
    stages = tuple(
        _fill(
            StageSettings,
            {"name": name, **choose("run_stages", name, table)},
            f"config.stages.{name}",
        )
        for name in names
    )
    if not stages:
        raise UserError("config.run_stages is empty; name at least one stage")
    return dataclasses.replace(_fill(Settings, {**values, "stages": ()}, "config"), stages=stages)
