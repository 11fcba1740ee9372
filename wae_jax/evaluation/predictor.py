"""What classifies photos: a network and how it wants them, wherever the network comes from."""

import contextlib
import dataclasses
import io
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import PIL.Image
import simplejpeg

from wae_jax import data
from wae_jax.checkpoints import folders
from wae_jax.checkpoints.load import load_step
from wae_jax.config import settings_from_config
from wae_jax.inference.fold import for_inference
from wae_jax.models.classifier import scores_of

BATCH_SIZE = 16
# Decoded, such an image takes 64 MB and more: one at a time.
_LARGE = 64_000_000 // 3
_JPEG_MAGIC = b"\xff\xd8\xff"
_one_large = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A network ready to classify photos of any size.

    Attributes:
        probabilities: uint8 RGB (b, S, S, 3) -> (b, classes), on one thread.
        class_names: by number; empty where they are not known.
        transform: from a photo to the network's input.
        as_is: whether a photo that has the network's size already is not resized and cropped.
        batch_size: the most images in a call.
        fixed: whether a call takes exactly so many.
        reading: how image files are read.
    """

    probabilities: Callable[[np.ndarray], Any]
    class_names: tuple[str, ...]
    transform: data.Transform
    as_is: bool
    batch_size: int
    fixed: bool = True
    reading: data.Reading = dataclasses.field(default_factory=data.Reading)

    def prepare(self, encoded: bytes) -> np.ndarray:
        """From an image file to the network's input, uint8 (S, S, 3); on any number of threads.

        Raises:
            DecodeError: it is no image, is damaged or too large.
        """
        return prepare(encoded, self.transform, as_is=self.as_is, reading=self.reading)

    def classify(self, images: list[np.ndarray]) -> np.ndarray:
        """Probabilities (b, classes) of b prepared images, at most ``batch_size``."""
        shape = images[0].shape
        batch = np.zeros((self.batch_size if self.fixed else len(images), *shape), np.uint8)
        batch[: len(images)] = images
        return np.asarray(self.probabilities(batch))[: len(images)]

    def name(self, number: int) -> str:
        """Of a class; empty where it is not known."""
        return self.class_names[number] if self.class_names else ""


def prepare(
    encoded: bytes, transform: data.Transform, *, as_is: bool, reading: data.Reading
) -> np.ndarray:
    """From an image file to what a network sees of it, uint8 (S, S, 3); see :class:`Predictor`.

    Raises:
        DecodeError: it is no image, is damaged or too large.
    """
    with _one_large if _pixels(encoded) > _LARGE else contextlib.nullcontext():
        image = data.EncodedImage(encoded, reading)
        if as_is and image.shape == (transform.size, transform.size, 3):
            return np.asarray(image)
        return transform([image], np.zeros((1, 0)))[0]


def _pixels(encoded: bytes) -> int:
    """What the header says; 0 where it cannot be read."""
    try:
        if encoded.startswith(_JPEG_MAGIC):  # Pillow would take a fifth of the time of decoding it
            height, width, *_ = simplejpeg.decode_jpeg_header(encoded)
            return height * width
        with PIL.Image.open(io.BytesIO(encoded)) as image:
            return image.width * image.height
    except Exception:  # whatever it is, decoding will tell
        return 0


def of_checkpoint(checkpoint: str, *, batch_size: int = BATCH_SIZE) -> Predictor:
    """The network of a checkpoint, in its inference form.

    Args:
        checkpoint: a training workdir or one of its checkpoint steps.
        batch_size: images in a call.

    Raises:
        UserError: no usable checkpoint.
    """
    model, variables, meta = load_step(folders.find(checkpoint))
    settings = settings_from_config(meta["config"]).data
    size = settings.image_size
    model, variables = for_inference(model, variables, (batch_size, size, size, 3))
    variables = jax.device_put(variables)
    call = jax.jit(lambda variables, images: jax.nn.softmax(scores_of(model, variables, images)))
    return Predictor(
        lambda images: call(variables, images),
        tuple(meta["class_names"]),
        data.make_transform("imagenet", size, train=False),
        as_is=settings.augmentation == "small",
        batch_size=batch_size,
        reading=data.Reading.of(settings),
    )
