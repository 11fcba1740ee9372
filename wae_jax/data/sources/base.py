"""What every source of encoded images offers, whatever its files look like."""

import abc
import dataclasses
from collections.abc import Iterable

from wae_jax.data.sources.classes import Classes


@dataclasses.dataclass(frozen=True)
class SourceInfo:
    """What is known of a split without reading a record.

    Attributes:
        name: as asked for, for example "imagenet2012", "imagenette/160px" or "folder".
        split: as asked for, for example "train[:99%]".
        num_classes: labels are 0..num_classes-1.
        class_names: one name per class, or None where TFDS has only numbers.
        num_examples: records in the split.
        image_shape: (height, width, channels) if all images share it, else None.
    """

    name: str
    split: str
    num_classes: int
    class_names: tuple[str, ...] | None
    num_examples: int
    image_shape: tuple[int, int, int] | None

    @property
    def classes(self) -> Classes:
        """The classes, for `open_source` of another split."""
        return Classes(self.num_classes, self.class_names, f"{self.split} of {self.name}")


class Source(abc.ABC):
    """One split. Safe to share between threads; a pickled copy can be read in another process.

    Attributes:
        info: its size, classes and image shape.
    """

    info: SourceInfo

    def __len__(self) -> int:
        return self.info.num_examples

    def read(self, indices: Iterable[int]) -> list[tuple[bytes, int]]:
        """Reads records by number.

        Args:
            indices: numbers in 0..len-1, in any order, repeats allowed.

        Returns:
            (encoded image, label) for each index, in their order.

        Raises:
            IndexError: an index is out of range.
            BadRecordError: one of the records is damaged.
            UserError: a file cannot be opened.
        """
        indices = [int(index) for index in indices]
        if indices and not 0 <= min(indices) <= max(indices) < len(self):
            raise IndexError(f"records {min(indices)}..{max(indices)} of {len(self)}")
        return self._read(indices)

    @abc.abstractmethod
    def _read(self, indices: list[int]) -> list[tuple[bytes, int]]:
        """`read`, with indices that have been checked."""

    @abc.abstractmethod
    def where(self, index: int) -> str:
        """Says in which file a record lies, for messages."""

    def __repr__(self) -> str:
        return f"{self.info.split} of {self.info.name} ({len(self)} records)"
