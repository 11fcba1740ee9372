import csv
import json

import numpy as np
import pytest

from wae_jax import data
from wae_jax.bench import data_bench
from wae_jax.commands import data_bench as command

pytestmark = pytest.mark.filterwarnings(
    r"ignore:the load_module\(\) method is deprecated:DeprecationWarning"
)


def run(monkeypatch, root, *arguments):
    monkeypatch.chdir(root)
    command.FLAGS.unparse_flags()
    for name in [name for name in command.FLAGS if name.startswith("config.")]:
        delattr(command.FLAGS, name)
    for name in ("config", "peer", "csv", "json", "workers", "seconds"):
        command.FLAGS[name].unparse()
    command.main(arguments)


def test_it_prints_and_writes_what_it_measured(monkeypatch, root, tmp_path, capsys):
    run(
        monkeypatch,
        root,
        "--config=configs/vgg16.py",
        "--config.data.name=foolbox_photos",
        "--config.stages.joint.batch_size=4",
        "--config.data.image_size=64",
        "--seconds=0.4",
        "--workers=0",
        f"--csv={tmp_path / 'rows.csv'}",
        f"--json={tmp_path / 'all.json'}",
    )
    out = capsys.readouterr().out
    for word in (
        "images/s",
        "MB/s",
        "peak memory",
        "read",
        "decode",
        "crop and resize",
        "batch",
        "wae_jax, threads",
    ):
        assert word in out
    with (tmp_path / "rows.csv").open() as file:
        (row,) = csv.DictReader(file)
    rate, size = float(row["images_per_s"]), float(row["kb_per_image"])
    assert rate > 10 and 20 < size < 500 and float(row["peak_memory_mb"]) > 100
    assert float(row["mb_per_s"]) == pytest.approx(rate * size / 1e3)
    everything = json.loads((tmp_path / "all.json").read_text())
    assert everything["environment"]["cpu"] and len(everything["parts"]) == 4
    assert json.loads((tmp_path / "rows.env.json").read_text())["cores"] >= 1


@pytest.mark.parametrize(
    "arguments, word",
    [
        ([], "--config"),
        (["--config=configs/vgg16.py", "--workers=many"], "--workers"),
        (["--config=configs/vgg16.py", "--config.data.nmae=x"], "nmae"),
        (["--config=configs/vgg16.py", "--csv=no/such/folder/x.csv"], "no/such/folder"),
        (["--config=configs/vgg16.py", "--config.data.name=no_such"], "no_such"),
    ],
)
def test_mistakes(monkeypatch, root, capsys, arguments, word):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, root, *arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and word in error


@pytest.mark.parametrize("train", [True, False])
def test_parts_add_up(train):
    source = data.open_source("foolbox_photos", "train")
    parts = data_bench.measure_parts(source, data.make_transform("imagenet", 64, train), 40)
    times = {part.part: part.us_per_image for part in parts}
    assert list(times) == ["read", "decode", "crop and resize", "batch"]
    assert all(value > 0 for value in times.values())
    assert times["decode"] > times["batch"]


def test_the_timed_image_is_the_image():
    encoded, _ = data.open_source("foolbox_photos", "train").read([0])[0]
    clock = {"decode": 0.0}
    timed = data_bench._TimedImage(encoded, clock)
    box = (10, 20, 200, 220)
    np.testing.assert_array_equal(
        timed.region(box, (300, 300), fast=True),
        data.EncodedImage(encoded).region(box, (300, 300), fast=True),
    )
    np.testing.assert_array_equal(np.asarray(timed), data.decode(encoded))
    assert clock["decode"] > 0
