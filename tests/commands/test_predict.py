"""wae-jax predict, in process."""

import json
import os

import jax
import numpy as np
import PIL.Image
import pytest

import wae_jax
from tests.pretrained import seeded
from wae_jax.evaluation.predict import find_images


@pytest.fixture
def options(imported):
    return "predict", f"--checkpoint={imported}"


@pytest.fixture
def photo():
    """Function that writes a photo of 50 pixels."""

    def write(path):
        PIL.Image.fromarray(seeded.images(1, 50)[0]).save(path)
        return path

    return write


def test_it_prints_the_networks_own_classes(imported, options, succeed, tmp_path):
    image = seeded.images(1, 224)[0]
    folder = tmp_path / "photos"
    folder.mkdir()
    # 256 pixels with the image in the middle: evaluation crops it out without resizing.
    PIL.Image.fromarray(np.pad(image, ((16, 16), (16, 16), (0, 0)))).save(folder / "a.png")
    (folder / "notes.txt").write_text("not searched for")
    model, variables = wae_jax.load(str(imported))
    scores = np.asarray(jax.jit(model.apply)(variables, image[None]).scores)[0]
    odds = np.exp(scores - scores.max())

    (line,) = succeed(*options, "--top=3", "--json", folder).splitlines()
    found = json.loads(line)
    assert found["file"] == str(folder / "a.png")
    best = np.argsort(-scores)[:3]
    assert [c["class"] for c in found["classes"]] == list(best)
    assert found["classes"][0]["name"] == f"class number {best[0]}"
    assert [c["probability"] for c in found["classes"]] == pytest.approx(
        list((odds / odds.sum())[best]), abs=1e-4
    )

    out = succeed(*options, "--top=1", folder / "a.png")
    assert out.splitlines()[1].endswith(f"class number {best[0]}")


def test_unreadable_files_are_named_after_all_others(options, photo, command, tmp_path):
    photo(tmp_path / "z.png")
    (tmp_path / "a.jpg").write_text("no image")
    status, out, err = command(*options, tmp_path)
    assert status == 2 and "z.png" in out
    assert err.startswith("error: 1 of 2 files") and err.count("\n") == 1 and "a.jpg" in err


@pytest.fixture
def closed(monkeypatch):
    """Function that closes a folder to this process, root or not."""

    def close(folder):
        scandir = os.scandir

        def refuse(path="."):
            if os.fspath(path) == str(folder):
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        return folder

    return close


def test_a_closed_folder_is_named_after_all_photos(options, photo, closed, command, tmp_path):
    (tmp_path / "secret").mkdir()
    photo(tmp_path / "z.png")
    closed(tmp_path / "secret")
    status, out, err = command(*options, tmp_path)
    assert status == 2 and "z.png" in out
    assert "secret (Permission denied)" in err and err.count("\n") == 1


def test_nothing_but_closed_folders(options, closed, refuse, tmp_path):
    refuse([str(tmp_path), "Permission denied"], *options, closed(tmp_path))


def test_files_are_found_at_any_depth_and_sorted(tmp_path):
    names = ("b.PNG", "a/c.jpeg", "a/d/e.webp")
    for name in (*names, "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found, problems = find_images([str(tmp_path)])
    assert found == sorted(tmp_path / name for name in names) and not problems


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["nowhere.jpg"], "nowhere.jpg"),
        (["x" * 300], "name too long"),
        ([__file__ + "/a.jpg"], "Not a directory"),
        (["--top=0", __file__], "--top"),
        (["--top=few", __file__], "--top"),
        ([], "FILE_OR_FOLDER"),
    ],
)
def test_mistakes(arguments, word, options, refuse):
    refuse([word], *options, *arguments)


def test_it_wants_images_in_a_folder(options, refuse, tmp_path):
    refuse([str(tmp_path)], *options, tmp_path)
