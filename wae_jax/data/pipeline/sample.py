"""A few images of a split, for what needs real ones but not all."""

from collections.abc import Iterator

import numpy as np

from wae_jax.config import DataSettings
from wae_jax.data.images.transforms import make_transform
from wae_jax.data.pipeline.batches import Examples
from wae_jax.data.pipeline.records import DecodedRecords
from wae_jax.data.sources.classes import Classes
from wae_jax.data.sources.open import open_split
from wae_jax.errors import UserError


def sample_batches(
    settings: DataSettings, split: str, count: int, batch_size: int, classes: Classes | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Images evenly spread over a split, as in evaluation, in an order drawn once.

    Args:
        settings: of the data set; bad records are passed over or an error, as they say.
        split: which part of it.
        count: how many images; all where the split has fewer.
        batch_size: images in a batch; the last may have fewer.
        classes: what labels must stand for, see :func:`wae_jax.data.open_source`.

    Yields:
        "image" uint8 (b, S, S, 3) and "label" int32 (b,), each batch with one image at least.

    Raises:
        UserError: no such data, or no record that can be used.
    """
    source = open_split(settings, split, classes)
    transform = make_transform(settings.augmentation, settings.image_size, train=False)
    examples = Examples(DecodedRecords(source), transform, 0, settings.bad_records)
    records = np.linspace(0, len(source), min(count, len(source)), endpoint=False).astype(np.int64)
    np.random.default_rng(0).shuffle(records)
    some = False
    for start in range(0, len(records), batch_size):
        part = records[start : start + batch_size]
        images, labels, good, _ = examples.make_good(np.zeros_like(part), part)
        if good.any():
            some = True
            yield {"image": images[good], "label": labels[good]}
    if not some:
        raise UserError(f"every record of {source} is bad: there is no image to work with")
