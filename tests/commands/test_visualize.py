"""wae-jax visualize, in process."""

import numpy as np
import PIL.Image
import pytest


def test_it_draws_every_row(trained, succeed, tmp_path):
    out = tmp_path / "picture.png"
    printed = succeed("visualize", f"--checkpoint={trained[0]}", f"--out={out}", "--count=3")
    assert printed == f"{out}\n"
    picture = np.asarray(PIL.Image.open(out).convert("RGB"), float)
    assert picture.shape[0] > picture.shape[1]  # five rows of three
    assert picture.std() > 10


def test_it_takes_other_data_of_the_same_kind(trained, succeed, refuse, tmp_path):
    options = ("visualize", f"--checkpoint={trained[0]}", f"--out={tmp_path / 'p.svg'}")
    refuse(["cifar11"], *options, "--data=cifar11")
    refuse([str(tmp_path)], *options, "--data=folder", f"--data_dir={tmp_path}")
    succeed(*options, "--data=cifar10", "--split=train[:2]", "--count=2")


@pytest.mark.parametrize(
    "option, words",
    [
        ("--out=no/folder/picture.png", ["--out", "no such folder"]),
        ("--out=picture.txt", ["--out", ".png, .pdf, .svg"]),
        ("--out=picture", ["--out", ".png, .pdf, .svg"]),
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


def test_one_sub_image_is_nothing_to_compare(imported, refuse, tmp_path):
    out = tmp_path / "picture.png"
    refuse(["one sub-image only"], "visualize", f"--checkpoint={imported}", f"--out={out}")
    assert not out.exists()
