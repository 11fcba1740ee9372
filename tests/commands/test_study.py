"""wae-jax study, in process."""

import csv
import json

import pytest

from wae_jax.bench import networks
from wae_jax.bench.measure import model_job
from wae_jax.config import Settings
from wae_jax.errors import UserError
from wae_jax.runtime import process
from wae_jax.study import study


@pytest.fixture(autouse=True)
def own_thread(monkeypatch):
    """Collects calls of ``call_on_own_thread``: other tests shall not be changed by them."""
    calls = []
    monkeypatch.setattr(process, "call_on_own_thread", lambda: calls.append(1))
    return calls


def test_it_trains_counts_and_times_every_variant(
    monkeypatch, config_file, succeed, own_thread, tmp_path
):
    timed = []

    def job(network, batch_size, device):
        assert own_thread  # before anything that is timed was compiled
        timed.append((network.method, batch_size))
        return model_job(network, batch_size, device)

    monkeypatch.setattr(study, "model_job", job)
    monkeypatch.setattr(study, "TIMING_SECONDS", 0.1)
    monkeypatch.setattr(networks, "evaluate_inference_form", None)  # training has evaluated it
    out = succeed(
        "study",
        f"--config={config_file}",
        "--variants=full,lowres,wae,lowres+distill",
        "--seeds=3",
        f"--workdir={tmp_path}",
        "--picture_of=wae",
    )
    variants = ["full", "lowres", "wae", "lowres+distill"]
    assert sorted(timed) == sorted((name, batch) for name in variants for batch in (1, 32))
    with (tmp_path / "results.csv").open() as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    assert list(rows) == variants
    held = json.loads((tmp_path / "lowres+distill-3" / "config.json").read_text())
    assert (held["seed"], held["distill"]["teacher"]) == (3, str(tmp_path / "full-3"))
    assert json.loads((tmp_path / "lowres-3/config.json").read_text())["distill"]["teacher"] == ""
    assert rows["lowres+distill"]["macs"] == rows["lowres"]["macs"]
    assert float(rows["full"]["mac_ratio"]) == float(rows["full"]["speedup_batch_1"]) == 1.0
    assert 3.5 < float(rows["lowres"]["mac_ratio"]) <= 4.5
    for row in rows.values():
        top1 = float(row["top1"])
        assert top1 * 96 == pytest.approx(round(top1 * 96), abs=0.01)
        assert float(row["ms_batch_1"]) > 0 and float(row["ms_batch_32"]) > 0
    assert json.loads((tmp_path / "results.env.json").read_text())["cpu"]
    assert (tmp_path / "sub_images.png").exists()
    assert "gap recovered" in out and "| lowres" in out


BROKEN = {
    "fails.py": "import no_such_module",
    "empty.py": "",
    "typo.py": "def get_config(variant):\n    raise KeyError(variant)",
    "negative.py": (
        "from wae_jax.config import default_config\n"
        "def get_config(variant):\n"
        "    config = default_config()\n"
        "    config.seed = -1\n"
        "    return config\n"
    ),
    # Its last variant has nothing left of its images before the head.
    "small.py": (
        "from wae_jax.config import default_config\n"
        "from wae_jax.methods import set_method\n"
        "def get_config(variant):\n"
        "    config = default_config()\n"
        "    config.data.image_size = 32\n"
        "    config.model.backbone.pool_rounding = 'down'\n"
        "    return set_method(config, variant)\n"
    ),
    "notes.txt": "",
}


@pytest.mark.parametrize(
    "options, words",
    [
        ({"seeds": "a"}, ["--seeds", "'a'"]),
        ({"seeds": "-1"}, ["--seeds", "'-1'"]),
        ({"seeds": ""}, ["--seeds"]),
        ({"seeds": "0,"}, ["--seeds"]),
        ({"seeds": "1,2,1"}, ["--seeds", "twice"]),
        ({"seeds": "0,00"}, ["--seeds", "twice"]),
        ({"seeds": "2147483648"}, ["--seeds", "2147483647"]),
        ({"variants": "full,wea"}, ["--variants", "wea", "wae-fast"]),
        ({"variants": "full,"}, ["--variants"]),
        ({"variants": "full,full"}, ["--variants", "twice"]),
        ({"variants": "full+distill,full"}, ["full+distill"]),
        ({"picture_of": "wae-fast"}, ["--picture_of", "wae-fast"]),
        ({"picture_of": "full"}, ["--picture_of", "full", "one sub-image"]),
        ({"csv": "no/folder/study.csv"}, ["--csv", "no such folder"]),
        ({"csv": "folder"}, ["--csv", "it is a folder"]),
        ({"config": "nowhere.py"}, ["no config file nowhere.py"]),
        ({"config": "folder"}, ["no config file folder"]),
        ({"config": "notes.txt"}, ["notes.txt", ".py"]),
        ({"config": "fails.py"}, ["fails.py", "no_such_module"]),
        ({"config": "empty.py"}, ["empty.py", "get_config"]),
        ({"config": "typo.py"}, ["full", "KeyError"]),
        ({"config": "negative.py"}, ["config.seed is -1"]),
        ({"config": "small.py", "variants": "full,lowres"}, ["variant lowres", "too small"]),
        ({"workdir": None}, ["--workdir"]),
    ],
)
def test_mistakes_are_found_before_anything_is_computed(
    options, words, config_file, refuse, monkeypatch, tmp_path
):
    def compute(*arguments):
        raise AssertionError("something was computed")

    for name in ("train", "model_job"):
        monkeypatch.setattr(study, name, compute)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name, text in BROKEN.items():
        (tmp_path / name).write_text(text)
    given = {"config": config_file, "variants": "full,wae", "workdir": "run"} | options
    refuse(
        words, "study", *(f"--{key}={value}" for key, value in given.items() if value is not None)
    )
    assert not (tmp_path / "run").exists()


def test_the_first_variant_cannot_teach_itself():
    with pytest.raises(UserError, match="teacher"):
        study.run_study({"full+distill": Settings()}, [0], "nowhere")


def test_gap_recovered():
    def row(variant, top1):
        return study.Row(variant, (top1,), 1, 1.0, {}, {})

    rows = [row("full", 0.9), row("lowres", 0.8), row("wae", 0.875)]
    assert study.gap_recovered(rows, rows[2]) == pytest.approx(0.75)
    assert study.gap_recovered(rows[1:], rows[2]) is None
