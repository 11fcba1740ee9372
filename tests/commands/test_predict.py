"""wae-jax predict, in process but for what needs a process of its own."""

import csv
import io
import json
import os
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import PIL.Image
import pytest

import wae_jax
from tests.checkpoints.conftest import META
from tests.commands.conftest import call
from tests.export.conftest import trained as drawn
from tests.pretrained import seeded
from wae_jax import data
from wae_jax.checkpoints import store
from wae_jax.checkpoints.state import new_state
from wae_jax.config import as_dict, settings_from_config
from wae_jax.evaluation.predict import Skipped, find_images, predict
from wae_jax.evaluation.predictor import Predictor, of_checkpoint
from wae_jax.methods import set_method
from wae_jax.models.classifier import build_model


@pytest.fixture
def options(imported):
    return "predict", f"--checkpoint={imported}"


@pytest.fixture(scope="module")
def saved(tiny_config, tmp_path_factory):
    """A small network that was never trained, with the names of CIFAR-10's classes."""
    config = set_method(
        tiny_config({"data.image_size": 32, "data.eval_split": "test[:96]"}), "full"
    )
    settings = settings_from_config(config)
    model = build_model(settings.model, num_classes=10, image_size=32)
    names = list(data.open_source("cifar10", "test").info.classes.names)
    meta = META | {"config": as_dict(settings), "num_classes": 10, "class_names": names}
    variables = jax.tree.map(jax.numpy.asarray, drawn(model, 32))
    workdir = tmp_path_factory.mktemp("saved")
    store.save(workdir, new_state(variables, ema=False), meta, keep=1)
    return workdir


@pytest.fixture
def small(saved):
    return "predict", f"--checkpoint={saved}"


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


def test_csv_has_a_row_for_each_image(small, photo, succeed, tmp_path):
    odd = photo(tmp_path / 'a "quoted", name.png')
    out = succeed(*small, "--csv", "--top=2", odd)
    header, row = csv.reader(io.StringIO(out))
    names = ["class_1", "name_1", "probability_1", "class_2", "name_2", "probability_2"]
    assert header == ["file", *names]
    (found,) = map(json.loads, succeed(*small, "--json", "--top=2", odd).splitlines())
    first, second = found["classes"]
    assert row == [str(odd), *map(str, [*first.values(), *second.values()])]


@pytest.fixture(scope="module")
def many(tmp_path_factory, foolbox):
    """200 real photos, three of them damaged, and their names."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(200):
        (folder / f"{i:03d}.jpg").write_bytes(foolbox[i % len(foolbox)])
    bad = [folder / f"{i:03d}.jpg" for i in (0, 77, 199)]
    bad[0].write_bytes(foolbox[0][:5000])
    bad[1].write_text("no image")
    bad[2].write_bytes(b"")
    return folder, bad


@pytest.fixture(scope="module")
def foolbox():
    """Real photos, JPEG bytes."""
    return [encoded for encoded, _ in data.open_source("foolbox_photos", "train").read(range(20))]


@pytest.mark.parametrize("strict", [False, True])
def test_damaged_files_are_named_and_passed_over(strict, saved, many, command):
    folder, bad = many
    options = ("--batch_size=64", "--json", *(["--strict"] if strict else []))
    status, out, err = command("predict", f"--checkpoint={saved}", *options, folder)
    assert status == (1 if strict else 0)
    rows = [json.loads(line)["file"] for line in out.splitlines()]
    assert rows == sorted(str(p) for p in folder.iterdir() if p not in bad) and len(rows) == 197
    lines = err.splitlines()
    assert len(lines) == 3
    for line, path in zip(lines, bad, strict=True):
        assert line.startswith(f"skipped {path}: ")


def test_what_a_batch_holds_does_not_matter(saved, many):
    """Nor that the last one is padded."""
    files = sorted(map(str, many[0].iterdir()))[1:20]
    found = [
        {r.file: r.classes for r in predict(of_checkpoint(str(saved), batch_size=n), files)}
        for n in (1, 5)
    ]
    for file in files:
        one, five = (dict((n, p) for n, _, p in classes[file]) for classes in found)
        assert one.keys() == five.keys()
        assert list(one.values()) == pytest.approx(list(five.values()), abs=1e-5)


def test_a_photo_is_classified_upright(small, foolbox, succeed, tmp_path):
    image = PIL.Image.open(io.BytesIO(foolbox[0]))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "plain.png")
    # Stored a quarter turn to the left, and to be shown a quarter turn to the right.
    image.rotate(90, expand=True).save(tmp_path / "lying.png", exif=exif)
    plain, lying, off = (
        json.loads(succeed(*small, "--json", *more))["classes"][0]["probability"]
        for more in (
            [tmp_path / "plain.png"],
            [tmp_path / "lying.png"],
            [tmp_path / "lying.png", "--exif_orientation=false"],
        )
    )
    assert lying == pytest.approx(plain, abs=2e-3) and abs(off - plain) > 5e-3


def test_a_limit_on_pixels(small, photo, command, tmp_path):
    path = photo(tmp_path / "a.png")
    status, out, err = command(*small, "--max_pixels=2499", path)
    assert (status, out) == (0, "") and "50 x 50 pixels are more than" in err


def test_pipes_and_devices_are_not_opened(small, photo, command, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "null.jpg").symlink_to("/dev/zero")
    photo(tmp_path / "z.png")
    status, out, err = command(*small, tmp_path)
    assert status == 0 and "z.png" in out
    assert err.splitlines() == [
        f"skipped {tmp_path / name}: it is no regular file" for name in ("null.jpg", "pipe.jpg")
    ]


@pytest.fixture(scope="module")
def exported(saved, tmp_path_factory):
    """Files of the trained network: ONNX for one and StableHLO for any number of images."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wae_jax.export.checkpoint._SECONDS", 0.0)
        for kind, batch in (("onnx", "1"), ("onnx", "dynamic"), ("stablehlo", "3")):
            out = folder / f"{batch}.{kind}"
            options = f"--format={kind}", f"--out={out}", f"--batch={batch}"
            assert call("export", f"--checkpoint={saved}", *options) == 0
    return folder


@pytest.mark.parametrize("name", ["1.onnx", "dynamic.onnx", "3.stablehlo"])
def test_an_exported_file_predicts_as_its_checkpoint(name, exported, saved, many, succeed):
    files = sorted(many[0].iterdir())[1:8]
    expected = succeed("predict", f"--checkpoint={saved}", "--json", *files).splitlines()
    found = succeed("predict", f"--input={exported / name}", "--json", *files).splitlines()
    assert len(found) == 7
    for one, other in zip(map(json.loads, found), map(json.loads, expected), strict=True):
        assert one["file"] == other["file"]
        by_name = [{c["name"]: c["probability"] for c in each["classes"]} for each in (one, other)]
        assert by_name[0] == pytest.approx(by_name[1], abs=1e-4)


def test_files_that_are_no_exports(exported, refuse, tmp_path):
    photo = __file__
    broken = tmp_path / "broken.onnx"
    broken.write_text("no graph")
    refuse(["ONNX Runtime does not take", str(broken)], "predict", f"--input={broken}", photo)
    refuse(["there is no file"], "predict", f"--input={tmp_path}/a.onnx", photo)
    refuse(["does not end in", ".stablehlo"], "predict", f"--input={photo}", photo)
    one = exported / "1.onnx"
    refuse(["takes 1 image(s)"], "predict", f"--input={one}", "--batch_size=2", photo)
    refuse(["--checkpoint", "--input"], "predict", photo)
    refuse(["not allowed"], "predict", f"--input={one}", "--checkpoint=a", photo)
    refuse(["not allowed"], "predict", f"--input={one}", "--csv", "--json", photo)


def test_a_list_on_stdin_is_answered_while_it_is_read(small, many, photo, run_env, root):
    """Results of the first lines are there before the next line is written."""
    good = sorted(many[0].iterdir())[1:4]
    with subprocess.Popen(
        [sys.executable, "-m", "wae_jax", *small, "--json", "-"],
        cwd=root,
        env=run_env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        for path in good:
            running.stdin.write(f"{path}\n\n")
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["file"] == str(path)
        running.stdin.write(f"/nowhere/a.jpg\n{good[0]}\n")
        out, err = running.communicate(timeout=60)
    assert json.loads(out)["file"] == str(good[0])
    assert err == "skipped /nowhere/a.jpg: No such file or directory\n"
    assert running.returncode == 0


def test_a_list_is_not_mixed_with_files(small, refuse):
    refuse(["stdin", "no others"], *small, "-", __file__)


class Slow(Predictor):
    """Decodes at once and computes slowly; counts what is decoded and not yet used."""

    waiting, most = 0, 0
    lock = threading.Lock()

    def prepare(self, encoded):
        with Slow.lock:
            Slow.waiting += 1
            Slow.most = max(Slow.most, Slow.waiting)
        return np.zeros((8, 8, 3), np.uint8)

    def classify(self, images):
        time.sleep(0.01)
        with Slow.lock:
            Slow.waiting -= len(images)
        return np.ones((len(images), 3))


def test_what_is_decoded_ahead_is_bounded(many):
    slow = Slow(len, (), data.ImageNetEval(8, 9), as_is=False, batch_size=4)
    files = [str(path) for path in sorted(many[0].iterdir())]
    assert sum(not isinstance(r, Skipped) for r in predict(slow, files)) == 200
    assert 4 < Slow.most <= 16  # the batch in the making, two ahead, and one on each thread


def test_a_reader_that_stops_early_leaves_nothing_behind(many):
    slow = Slow(len, (), data.ImageNetEval(8, 9), as_is=False, batch_size=4)
    before = threading.active_count()
    results = predict(slow, [str(path) for path in sorted(many[0].iterdir())])
    next(results)
    results.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


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


def test_a_closed_folder_is_named(small, photo, closed, command, tmp_path):
    (tmp_path / "secret").mkdir()
    photo(tmp_path / "z.png")
    closed(tmp_path / "secret")
    status, out, err = command(*small, tmp_path)
    assert status == 0 and "z.png" in out
    assert err == f"skipped the folder {tmp_path / 'secret'}: Permission denied\n"


def test_nothing_but_closed_folders(small, closed, refuse, tmp_path):
    refuse([str(tmp_path), "Permission denied"], *small, closed(tmp_path))


def test_files_are_found_at_any_depth_and_sorted(tmp_path):
    names = ("b.PNG", "a/c.jpeg", "a/d/e.webp")
    for name in (*names, "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_images([str(tmp_path)]) == sorted(str(tmp_path / name) for name in names)


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
def test_mistakes(arguments, word, small, refuse):
    refuse([word], *small, *arguments)


def test_it_wants_images_in_a_folder(small, refuse, tmp_path):
    refuse([str(tmp_path)], *small, tmp_path)
