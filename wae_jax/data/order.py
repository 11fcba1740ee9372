"""The data order as pure functions of numbers: which record is seen when, with what random draws.

Everything here is a hash of (seed, epoch, record), so it depends neither on the worker or process
that asks, nor on what was asked before, nor on the NumPy version.
"""

import dataclasses
import functools

import numpy as np

from wae_jax.errors import UserError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # odd, 2**64 over the golden ratio
_DRAW_STREAM, _ORDER_STREAM, _SUBSTITUTE_STREAM = 1, 2, 3


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): a bijection of uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _hash(*keys) -> np.ndarray:
    """Chains integer keys, arrays that broadcast, into one well-mixed uint64 array."""
    state = np.zeros(1, np.uint64)
    for key in keys:
        key = np.atleast_1d(key).astype(np.uint64)  # scalars would warn of overflow
        state = _mix((state ^ _mix(key + _GOLDEN)) + _GOLDEN)
    return state


def uniforms(seed: int, epoch, indices, n: int) -> np.ndarray:
    """Random numbers of records, the same whenever and wherever they are asked for.

    Args:
        seed: of the run, 0 <= seed < 2**63.
        epoch: int, or int array (b,) with one epoch per record.
        indices: int array (b,), record numbers.
        n: numbers per record.

    Returns:
        float64 (b, n), uniform in [0, 1). Column j does not depend on n.
    """
    per_record = _hash(seed, _DRAW_STREAM, epoch, indices)[:, None]
    return (_hash(per_record, np.arange(n)) >> np.uint64(11)) * 2.0**-53


@functools.lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """The order of one epoch: int64 (num_examples,), read-only. Cached, 10 MB for ImageNet."""
    keys = _hash(seed, _ORDER_STREAM, epoch, np.arange(num_examples))
    order = np.argsort(keys, kind="stable")
    order.flags.writeable = False
    return order


def substitutes(seed: int, epochs, records, attempt: int, num_examples: int) -> np.ndarray:
    """The records that stand for bad ones in their epochs, int64 (b,), each drawn by its own.

    Args:
        seed: of the run.
        epochs: int (b,), of the bad records.
        records: int (b,), their numbers.
        attempt: 0, 1, ... while what was drawn is bad too.
        num_examples: records in the source.
    """
    hashes = _hash(seed, _SUBSTITUTE_STREAM, epochs, records, attempt)
    return (hashes % np.uint64(num_examples)).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Shard:
    """One process's contiguous part of every global batch.

    Attributes:
        batch_size: examples in a global batch, over all processes.
        process_index, process_count: which part of how many.

    Raises:
        UserError: the batch cannot be split evenly.
    """

    batch_size: int
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self):
        if self.batch_size <= 0 or self.batch_size % self.process_count:
            raise UserError(
                f"batch size {self.batch_size} is not a positive multiple of the "
                f"{self.process_count} process(es) that share it"
            )
        if not 0 <= self.process_index < self.process_count:
            raise ValueError(f"process {self.process_index} of {self.process_count}")

    @property
    def local_size(self) -> int:
        """Examples in this process's part."""
        return self.batch_size // self.process_count

    def positions(self, batch: int) -> np.ndarray:
        """Stream positions of this process's part of a global batch: int64 (local_size,)."""
        start = batch * self.batch_size + self.process_index * self.local_size
        return np.arange(start, start + self.local_size)


def train_records(
    positions: np.ndarray, *, seed: int, num_examples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Maps positions in the endless stream of shuffled epochs to (epochs, records), int64 each."""
    epochs, offsets = np.divmod(positions, num_examples)
    records = np.empty_like(positions)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        records[chosen] = permutation(seed, int(epoch), num_examples)[offsets[chosen]]
    return epochs, records
