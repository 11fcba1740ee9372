"""A miniature of the official ImageNet tars, made of real photos."""

import dataclasses
import io
import tarfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils import shard_utils
from tensorflow_datasets.datasets.imagenet2012 import imagenet2012_dataset_builder as tfds_imagenet

from wae_jax.data import open_source
from wae_jax.data.prepare import prepare_imagenet2012

PHOTOS_PER_CLASS = 2
VALIDATION_PHOTOS = 60
# Photos of a wrong kind that TFDS leaves as they are, beside those that it converts.
CMYK, GRAY, PNG = "n01440764_7.JPEG", "n01443537_7.JPEG", "n01484850_7.JPEG"


@dataclasses.dataclass(frozen=True)
class Tars:
    """The two tars, and what is in them: {file name: image file}."""

    train: Path
    validation: Path
    train_photos: dict[str, bytes]
    validation_photos: dict[str, bytes]


@pytest.fixture(scope="session")
def wnids():
    """The 1000 classes in the order of TFDS's labels."""
    return tfds.builder_cls("imagenet2012")(data_dir="none").info.features["label"].names


@pytest.fixture(scope="session")
def photo_maker():
    """Function (number, kind) -> image file: a small crop of one of 20 real photos."""
    files = open_source("foolbox_photos", "train").read(range(20))
    photos = []
    for data, _ in files:
        with PIL.Image.open(io.BytesIO(data)) as image:
            photos.append(image.convert("RGB").resize((96, 96)))

    def make(number, kind="RGB"):
        left, top = np.random.default_rng(number).integers(0, 48, 2)
        crop = photos[number % 20].crop((left, top, left + 48, top + 36))
        encoded = io.BytesIO()
        if kind == "PNG":
            crop.save(encoded, "PNG")
        else:
            crop.convert(kind).save(encoded, "JPEG", quality=80)
        return encoded.getvalue()

    return make


def as_tar(files):
    """{name: bytes} as the bytes of a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture(scope="session")
def imagenet_tars(tmp_path_factory, photo_maker, wnids):
    kinds = dict.fromkeys(tfds_imagenet.CMYK_IMAGES, "CMYK")
    kinds |= dict.fromkeys(tfds_imagenet.PNG_IMAGES, "PNG")
    kinds |= {CMYK: "CMYK", GRAY: "L", PNG: "PNG"}
    classes, train_photos = {}, {}
    for wnid in wnids:
        names = [f"{wnid}_{i}.JPEG" for i in range(PHOTOS_PER_CLASS)]
        names += [name for name in kinds if name.startswith(wnid)]
        photos = {
            name: photo_maker(len(train_photos) + i, kinds.get(name, "RGB"))
            for i, name in enumerate(names)
        }
        train_photos |= photos
        classes[f"{wnid}.tar"] = as_tar(photos)
    # The official tars are not in the order of the names either.
    numbers = np.random.default_rng(0).permutation(VALIDATION_PHOTOS) + 1
    validation_photos = {f"ILSVRC2012_val_{n:08d}.JPEG": photo_maker(-n % 997) for n in numbers}
    folder = tmp_path_factory.mktemp("tars")
    tars = Tars(
        folder / "ILSVRC2012_img_train.tar",
        folder / "ILSVRC2012_img_val.tar",
        train_photos,
        validation_photos,
    )
    tars.train.write_bytes(as_tar(classes))
    tars.validation.write_bytes(as_tar(validation_photos))
    return tars


@pytest.fixture
def small_shards(monkeypatch):
    """TFDS's rule for the number of shards, for small data: at least 20 kB a shard."""
    monkeypatch.setattr(shard_utils.ShardConfig, "min_shard_size", 20_000)


@pytest.fixture(scope="session")
def prepared_imagenet(imagenet_tars, tmp_path_factory):
    """Folder of the whole miniature as we prepare it, in many shards."""
    data_dir = tmp_path_factory.mktemp("ours")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_utils.ShardConfig, "min_shard_size", 20_000)
        return prepare_imagenet2012(
            imagenet_tars.train, imagenet_tars.validation, data_dir=data_dir
        )


def contents(folder):
    """{path: bytes} of all files in a folder, hidden ones too."""
    folder = Path(folder)
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def odd_images(make):
    """{what: image file}: what TFDS converts, in all the ways in which such files are written."""
    cmyk = make(0, "CMYK")
    start = cmyk.index(b"\xff\xee")  # the marker of Adobe: what is inverted, and the colour space
    end = start + 2 + int.from_bytes(cmyk[start + 2 : start + 4], "big")
    return {
        "CMYK": cmyk,
        "CMYK that is not inverted": cmyk[:start] + cmyk[end:],
        "YCCK": cmyk[: end - 1] + b"\x02" + cmyk[end:],
        "RGB": make(1),
        "PNG": make(2, "PNG"),
    }
