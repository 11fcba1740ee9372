"""wae-jax visualize, in process."""

import numpy as np
import PIL.Image
import pytest

from tests.pretrained import seeded


def size_of(path) -> tuple[int, int]:
    """Width and height of a picture that is not blank."""
    picture = PIL.Image.open(path).convert("RGB")
    assert np.asarray(picture, float).std() > 10
    return picture.size


def test_it_draws_every_row(trained, succeed, tmp_path):
    out = tmp_path / "picture.png"
    printed = succeed("visualize", f"--checkpoint={trained[0]}", f"--out={out}", "--count=3")
    assert printed == f"{out}\n"
    width, height = size_of(out)
    assert height > 1.5 * width  # seven rows of three


def test_it_draws_photos_that_are_named(trained, imported, succeed, refuse, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for i, image in enumerate(seeded.images(3, 64)):
        PIL.Image.fromarray(image).save(photos / f"$name_{i}$.png")
    out = tmp_path / "picture.svg"
    options = ("visualize", f"--checkpoint={trained[0]}", f"--out={out}")
    succeed(*options, photos, photos / "$name_1$.png")
    text = out.read_text()
    # Names as they are: not as mathematics. Four photos with three figures each.
    assert [text.count(f"<!-- $name_{i}$.png -->") for i in range(3)] == [1, 2, 1]
    assert [text.count(f"<!-- {each}") for each in ("PSNR", "energy", "correlation")] == [4, 4, 4]
    for name in ("I_L", "I_H, ", "I' (rebuilt)", "|I - I'|, ", "log-spectrum of I_H"):
        assert text.count(f"<!-- {name}") == 1, name
    refuse(["--split"], *options, "--split=test", photos)
    refuse(["nowhere.jpg"], *options, photos, tmp_path / "nowhere.jpg")
    (photos / "bad.jpg").write_bytes(b"no image")
    refuse(["bad.jpg", "the format is unknown"], *options, photos)
    # Full resolution: the photo and its spectrum.
    options = (f"--checkpoint={imported}", f"--out={tmp_path / 'full.png'}", "--count=2")
    succeed("visualize", *options, photos / "$name_0$.png", photos / "$name_1$.png")
    width, height = size_of(tmp_path / "full.png")
    assert height < 1.2 * width


def test_it_takes_other_data_of_the_same_kind(trained, succeed, refuse, tmp_path):
    options = ("visualize", f"--checkpoint={trained[0]}", f"--out={tmp_path / 'p.svg'}")
    refuse(["cifar11"], *options, "--data=cifar11")
    refuse([str(tmp_path)], *options, "--data=folder", f"--data_dir={tmp_path}")
    succeed(*options, "--data=cifar10", "--split=train[:2]", "--count=2")


@pytest.mark.parametrize(
    "option, words",
    [
        ("--out=no/folder/picture.png", ["--out", "no such folder"]),
        ("--out=picture.txt", ["--out", ".png or .pdf or .svg"]),
        ("--out=picture", ["--out", ".png or .pdf or .svg"]),
        ("--out=folder.png", ["--out", "it is a folder"]),
        ("--count=many", ["--count", "many"]),
        ("--count=0", ["--count"]),
    ],
)
def test_mistakes_are_found_before_the_checkpoint_is_opened(
    option, words, refuse, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    refuse(words, "visualize", "--checkpoint=nowhere", option)
