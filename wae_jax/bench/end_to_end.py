"""From JPEG bytes to scores: decoding, resizing and the copy to the device included.

Real photos, one host thread. Every method decodes at the smallest scale that JPEG offers and that
is no smaller than what it resizes to. The plain low-resolution rival is given the small images
themselves: its host shrinks to the half size at once and its network has no front end.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np
import simplejpeg

from wae_jax import data
from wae_jax.bench.measure import Job, compile_ahead, random_images
from wae_jax.models.frontends.fixed import Downsample, Identity


def load_photos(cache_dir: str) -> list[bytes]:
    """JPEG files of 20 photos of about 500 pixels; fetched on first use.

    Raises:
        UserError: they cannot be fetched.
    """
    source = data.open_source("foolbox_photos", "train", cache_dir=cache_dir)
    return [encoded for encoded, _ in source.read(range(len(source)))]


def make_reader(size: int) -> Callable[[Sequence[bytes]], np.ndarray]:
    """Function from JPEG files to uint8 (B, size, size, 3): shorter side resized, centre cropped.

    The crop keeps the usual 224 of 256 pixels.
    """
    transform = data.make_transform("imagenet", size, train=False)
    assert isinstance(transform, data.ImageNetEval)
    shorter = transform.resize

    def read(photos: Sequence[bytes]) -> np.ndarray:
        images = (
            simplejpeg.decode_jpeg(photo, min_height=shorter, min_width=shorter) for photo in photos
        )
        return transform(images, np.zeros((len(photos), 0)))

    return read


def end_to_end_job(job: Job, photos: Sequence[bytes], device: jax.Device) -> Job:
    """The end-to-end job of a job of scope "model".

    The same photos at each call, cycled where the batch is larger.
    """
    model, size, program = job.network.model, job.network.image_size, job.program
    variables = jax.device_put(job.network.variables_for(job.batch_size), device)
    batch = [photos[i % len(photos)] for i in range(job.batch_size)]
    if isinstance(model.frontend, Downsample):
        size, _ = model.frontend.output_size(size, size)
        without = dataclasses.replace(job.network, model=model.clone(frontend=Identity()))
        images = jax.device_put(random_images(job.batch_size, size), device)
        program = compile_ahead(without.scores, variables, images)
    read = make_reader(size)
    return dataclasses.replace(
        job,
        scope="end_to_end",
        program=program,
        call=lambda: program.run(variables, jax.device_put(read(batch), device)),
    )
