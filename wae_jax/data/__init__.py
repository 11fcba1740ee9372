"""Data: sources of encoded images, host-side transforms, and loaders that resume exactly."""

from wae_jax.data.augment import make_mix, train_transform
from wae_jax.data.base import Source, SourceInfo
from wae_jax.data.decode import DecodeError, EncodedImage, decode
from wae_jax.data.fetch import cache_root, fetch_npm, fetch_pypi, fetch_url
from wae_jax.data.loader import (
    Batch,
    EvalLoader,
    TrainLoader,
    check_resume,
    make_eval_loader,
    make_train_loader,
)
from wae_jax.data.order import uniforms
from wae_jax.data.sources import open_source
from wae_jax.data.transforms import (
    ImageNetEval,
    ImageNetTrain,
    SmallEval,
    SmallTrain,
    Transform,
    make_transform,
)

__all__ = [
    "Batch",
    "DecodeError",
    "EncodedImage",
    "EvalLoader",
    "ImageNetEval",
    "ImageNetTrain",
    "SmallEval",
    "SmallTrain",
    "Source",
    "SourceInfo",
    "TrainLoader",
    "Transform",
    "cache_root",
    "check_resume",
    "decode",
    "fetch_npm",
    "fetch_pypi",
    "fetch_url",
    "make_eval_loader",
    "make_mix",
    "make_train_loader",
    "make_transform",
    "open_source",
    "train_transform",
    "uniforms",
]
