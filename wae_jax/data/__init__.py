"""Data: sources of encoded images, host-side transforms, and loaders that resume exactly."""

from wae_jax.data.images.augment import make_mix, train_transform
from wae_jax.data.images.decode import (
    PHOTO_SUFFIXES,
    DecodeError,
    EncodedImage,
    Reading,
    decode,
)
from wae_jax.data.images.transforms import (
    ImageNetEval,
    ImageNetTrain,
    SmallEval,
    SmallTrain,
    Transform,
    make_transform,
)
from wae_jax.data.order import uniforms
from wae_jax.data.pipeline.loader import (
    Batch,
    EvalLoader,
    TrainLoader,
    check_resume,
    make_eval_loader,
    make_train_loader,
)
from wae_jax.data.pipeline.records import DecodedRecords
from wae_jax.data.pipeline.sample import sample_batches
from wae_jax.data.sources.base import Source, SourceInfo
from wae_jax.data.sources.classes import Classes, check_same_classes
from wae_jax.data.sources.fetch import cache_root, fetch_npm, fetch_pypi, fetch_url
from wae_jax.data.sources.open import open_source, open_split

__all__ = [
    "PHOTO_SUFFIXES",
    "Batch",
    "Classes",
    "DecodeError",
    "DecodedRecords",
    "EncodedImage",
    "EvalLoader",
    "ImageNetEval",
    "ImageNetTrain",
    "Reading",
    "SmallEval",
    "SmallTrain",
    "Source",
    "SourceInfo",
    "TrainLoader",
    "Transform",
    "cache_root",
    "check_resume",
    "check_same_classes",
    "decode",
    "fetch_npm",
    "fetch_pypi",
    "fetch_url",
    "make_eval_loader",
    "make_mix",
    "make_train_loader",
    "make_transform",
    "open_source",
    "open_split",
    "sample_batches",
    "train_transform",
    "uniforms",
]
