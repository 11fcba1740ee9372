"""Functions from a batch's number to the batch, for Grain to call wherever it likes."""

import dataclasses
from typing import Any

import numpy as np

from wae_jax.data import order
from wae_jax.data.bad import POLICIES, BadRecordError, Skipped
from wae_jax.data.images import transforms
from wae_jax.data.images.augment import Mix
from wae_jax.data.pipeline.records import DecodedRecords
from wae_jax.errors import UserError

_MAX_SUBSTITUTES = 100  # bad records in a row after which the whole data set must be at fault


@dataclasses.dataclass(frozen=True)
class Examples:
    """Makes transformed images of given records, and sorts out those that cannot be used."""

    records: DecodedRecords
    transform: transforms.Transform
    seed: int
    bad_records: str

    def __post_init__(self):
        if self.bad_records not in POLICIES:
            raise UserError(
                f"config.data.bad_records is {self.bad_records!r}; it must be one of: "
                f"{', '.join(POLICIES)}"
            )

    def make(self, epochs: np.ndarray, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 (b, S, S, 3) and labels int32 (b,) of records; raises BadRecordError."""
        images, labels = self.records.read(records)
        draws = order.uniforms(self.seed, epochs, records, self.transform.draws)
        return self.transform(images, draws), labels

    def make_good(
        self, epochs: np.ndarray, records: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[Skipped, ...]]:
        """The same with bad records left out, and bool (b,): which are there; and the others.

        What is left out is zeros.

        Raises:
            UserError: a record is bad, and the policy is "error".
        """
        try:
            images, labels = self.make(epochs, records)
            return images, labels, np.ones(len(records), bool), ()
        except BadRecordError:
            pass  # one of them; find out which
        size = self.transform.size
        images = np.zeros((len(records), size, size, 3), np.uint8)
        labels, good = np.zeros(len(records), np.int32), np.zeros(len(records), bool)
        skipped = []
        for i, record in enumerate(records):
            try:
                images[i : i + 1], labels[i : i + 1] = self.make(
                    epochs[i : i + 1], records[i : i + 1]
                )
                good[i] = True
            except BadRecordError as error:
                message = f"{self.records.source.where(int(record))}: {error}"
                if self.bad_records == "error":
                    raise UserError(
                        f"{message}; mend it, or pass over such records with "
                        "--config.data.bad_records=skip"
                    ) from error
                skipped.append(Skipped(int(record), message))
        return images, labels, good, tuple(skipped)


@dataclasses.dataclass(frozen=True)
class TrainBatches:
    """Makes training batch k."""

    examples: Examples
    shard: order.Shard
    mix: Mix | None

    def __call__(self, batch: int) -> dict[str, Any]:
        seed, num_examples = self.examples.seed, len(self.examples.records.source)
        epochs, records = order.train_records(
            self.shard.positions(batch), seed=seed, num_examples=num_examples
        )
        images, labels, good, skipped = self.examples.make_good(epochs, records)
        for attempt in range(_MAX_SUBSTITUTES):
            bad = np.flatnonzero(~good)
            if not len(bad):
                break
            # A substitute follows from the record that it stands for, so that neither the other
            # records nor the number of processes matter.
            others = order.substitutes(seed, epochs[bad], records[bad], attempt, num_examples)
            images[bad], labels[bad], good[bad], more = self.examples.make_good(epochs[bad], others)
            skipped += more
        else:
            raise UserError(
                f"{self.examples.records.source}: {_MAX_SUBSTITUTES} records tried in a row are "
                f"bad, the last is {skipped[-1].message}"
            )
        made = _batch(images, labels, np.ones(len(labels), np.float32), skipped)
        if self.mix:
            used = self.examples.transform.draws
            numbers = order.uniforms(seed, epochs, records, used + self.mix.draws)[:, used:]
            made |= self.mix(images, labels, numbers)
        return made


@dataclasses.dataclass(frozen=True)
class EvalBatches:
    """Makes batch k of the split in its own order; what lies past its end is zeros."""

    examples: Examples
    shard: order.Shard

    def __call__(self, batch: int) -> dict[str, Any]:
        records = self.shard.positions(batch)
        records = records[records < len(self.examples.records.source)]
        if not len(records):
            size = self.examples.transform.size
            return _batch(
                np.zeros((self.shard.local_size, size, size, 3), np.uint8),
                np.zeros(self.shard.local_size, np.int32),
                np.zeros(self.shard.local_size, np.float32),
                (),
            )
        images, labels, good, skipped = self.examples.make_good(np.zeros_like(records), records)
        if padding := self.shard.local_size - len(records):
            images = np.pad(images, ((0, padding), (0, 0), (0, 0), (0, 0)))
            labels, good = np.pad(labels, (0, padding)), np.pad(good, (0, padding))
        return _batch(images, labels, good.astype(np.float32), skipped)


def _batch(image, label, mask, skipped: tuple[Skipped, ...]) -> dict[str, Any]:
    """A batch as it travels to the loader, which takes the skipped records out of it."""
    batch = {"image": image, "label": label, "mask": mask}
    return batch | {"skipped": skipped} if skipped else batch
