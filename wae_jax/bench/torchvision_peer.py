"""The usual PyTorch input pipeline on the photos of a source, to compare with."""

from collections.abc import Callable, Generator
from pathlib import Path

from wae_jax import data
from wae_jax.errors import UserError


def torchvision_batches(
    source: data.Source, folder: Path, image_size: int, batch_size: int
) -> Callable[[int], Generator[int, None, None]]:
    """Writes the photos to `folder` and returns a function from workers to batches' sizes.

    It reads with ImageFolder and a shuffling DataLoader: Pillow, random-resized-crop
    (antialiased), flip, uint8 tensors.

    Raises:
        UserError: torchvision is not installed.
    """
    try:
        import torch
        import torchvision
        from torchvision.transforms import v2
    except ImportError as error:
        raise UserError(
            "--peer=torchvision needs the packages torch and torchvision: "
            "pip install torch torchvision"
        ) from error
    for index in range(len(source)):
        encoded, label = source.read([index])[0]
        path = folder / str(label) / f"{index}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded)
    dataset = torchvision.datasets.ImageFolder(
        str(folder),
        v2.Compose([v2.RandomResizedCrop(image_size), v2.RandomHorizontalFlip(), v2.PILToTensor()]),
    )

    def batches(workers: int) -> Generator[int, None, None]:
        loader = torch.utils.data.DataLoader(
            dataset,
            batch_size,
            num_workers=workers,
            # Endless: a set of a few hundred photos would else be all starts and ends.
            sampler=torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=1 << 30),
        )
        for _, labels in loader:
            yield len(labels)

    return batches
