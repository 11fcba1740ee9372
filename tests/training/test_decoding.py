"""What a whole run decodes: a small data set stays in memory."""

import collections

from tests.networks import TWO_BRANCHES
from wae_jax.data import decode
from wae_jax.data.pipeline import records
from wae_jax.training.loop import train


def test_a_run_decodes_each_image_once(tiny_config, cifar10, tmp_path, monkeypatch):
    """Over epochs, stages and evaluations, whose loaders share what the run keeps."""
    times = collections.Counter()

    def counting(data, reading):
        times[data] += 1
        return decode(data, reading)

    monkeypatch.setattr(records, "decode", counting)
    changes = TWO_BRANCHES | {
        "data.image_size": 32,
        "data.train_split": "train[:32]",
        "data.eval_split": "test[:16]",
        "data.eval_batch_size": 16,
        "parallel.devices": 1,
        "run_stages": ("autoencoder", "classifier"),
        "stages.autoencoder.steps": 4,  # of 16 images: two epochs
        "stages.classifier.steps": 3,
    }
    train(tiny_config(changes), str(tmp_path / "run"))
    assert len(times) == 32 + 16
    assert set(times.values()) == {1}
