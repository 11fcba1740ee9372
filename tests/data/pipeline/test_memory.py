"""Memory of the loader stays flat, however long it runs."""

import io
import os

import numpy as np
import PIL.Image
import psutil
import pytest

from wae_jax.data import DecodedRecords, make_train_loader, make_transform, open_source

RECORDS = 20_000


@pytest.mark.slow
def test_memory_is_flat_over_an_epoch(tmp_path):
    """20,000 files (links to 230 real photos, shrunk to be read faster): every one once."""
    photos = open_source("photos_500x375", "train").read(range(230))
    for i, (data, _) in enumerate(photos):
        with PIL.Image.open(io.BytesIO(data)) as photo:
            photo.resize((100, 75)).save(tmp_path / f"{i}.jpg", quality=90)
    for i in range(RECORDS):
        folder = tmp_path / "photos" / "train" / f"class{i % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(tmp_path / f"{i % 230}.jpg", folder / f"{i}.jpg")
    source = open_source("folder", "train", data_dir=tmp_path / "photos")
    assert len(source) == RECORDS
    process, found, labels = psutil.Process(), [], []
    with make_train_loader(
        DecodedRecords(source),
        make_transform("imagenet", 64, True),
        batch_size=100,
        seed=0,
        num_batches=RECORDS // 100,
    ) as loader:
        for batch in loader:
            found.append(process.memory_info().rss / 1e6)
            labels.append(batch["label"])
    assert np.bincount(np.concatenate(labels)).tolist() == [RECORDS // 10] * 10
    # The first batches fill the prefetch buffer. All images take 246 MB together; one that kept
    # a tenth of what it makes would grow by 25 MB.
    settled = np.array(found[20:])
    slope = np.polyfit(np.arange(len(settled)), settled, 1)[0] * len(found)
    assert abs(slope) < 15, f"{slope:.1f} MB over the epoch"
