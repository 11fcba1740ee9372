import numpy as np
import pytest

from wae_jax.data import order, uniforms
from wae_jax.errors import UserError


def test_uniforms_are_uniform():
    x = uniforms(3, 1, np.arange(200_000), 3)
    assert x.shape == (200_000, 3) and x.dtype == np.float64
    assert x.min() >= 0 and x.max() < 1
    np.testing.assert_allclose(x.mean(axis=0), 0.5, atol=0.003)
    np.testing.assert_allclose(x.var(axis=0), 1 / 12, atol=0.001)
    counts = np.histogram(x, bins=64, range=(0, 1))[0]
    expected = x.size / 64
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 63 + 5 * np.sqrt(2 * 63)


def test_uniforms_are_independent():
    """Neighbouring records, columns, epochs and seeds: no correlation beyond sampling noise."""
    n = 100_000
    records = np.arange(n)
    base = uniforms(0, 0, records, 4)
    others = [base[:, 1], base[:, 2], base[:, 3], np.roll(base[:, 0], 1)]
    others += [uniforms(s, e, records, 1)[:, 0] for s, e in ((0, 1), (1, 0), (1, 1), (2**62, 0))]
    for other in others:
        assert abs(np.corrcoef(base[:, 0], other)[0, 1]) < 5 / np.sqrt(n)


def test_uniforms_belong_to_the_record():
    x = uniforms(5, 2, np.arange(100), 4)
    np.testing.assert_array_equal(uniforms(5, 2, np.array([42, 7]), 2), x[[42, 7], :2])
    epochs = np.array([2, 3, 2])
    mixed = uniforms(5, epochs, np.array([1, 1, 9]), 4)
    np.testing.assert_array_equal(mixed[[0, 2]], x[[1, 9]])
    np.testing.assert_array_equal(mixed[1], uniforms(5, 3, np.array([1]), 4)[0])


def test_uniforms_never_change():
    """Golden numbers: another value here silently changes every resumed run."""
    assert uniforms(1, 2, np.array([3, 4]), 2).tolist() == [
        [0.9163719625843417, 0.04332047425545693],
        [0.6218642298893229, 0.14091095182880553],
    ]


def test_permutation():
    first = order.permutation(0, 0, 1000)
    assert sorted(first) == list(range(1000))
    for other in (order.permutation(0, 1, 1000), order.permutation(1, 0, 1000)):
        assert sorted(other) == list(range(1000))
        assert (first == other).sum() < 10
    assert abs(np.corrcoef(first, np.arange(1000))[0, 1]) < 0.15
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


@pytest.mark.parametrize("process_count", [1, 2, 4])
def test_shards_make_up_the_batch(process_count):
    shards = [order.Shard(8, i, process_count) for i in range(process_count)]
    for batch in (0, 5):
        positions = np.concatenate([shard.positions(batch) for shard in shards])
        np.testing.assert_array_equal(positions, np.arange(8 * batch, 8 * batch + 8))


@pytest.mark.parametrize(("batch_size", "process_count"), [(9, 2), (0, 1), (-4, 2), (2, 4)])
def test_uneven_batch_is_refused(batch_size, process_count):
    with pytest.raises(UserError, match="multiple"):
        order.Shard(batch_size, 0, process_count)


def test_stream_is_concatenated_epochs():
    epochs, records = order.train_records(np.arange(35), seed=4, num_examples=10)
    np.testing.assert_array_equal(epochs, np.arange(35) // 10)
    for epoch in range(3):
        assert sorted(records[epochs == epoch]) == list(range(10))
    np.testing.assert_array_equal(
        order.train_records(np.arange(17, 23), seed=4, num_examples=10)[1], records[17:23]
    )
