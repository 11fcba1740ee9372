"""wae-jax study, in process."""

import csv
import json
import shutil

import numpy as np
import pytest

from tests.commands.conftest import call
from wae_jax.bench.places import program_of
from wae_jax.compress.pipeline import train
from wae_jax.config import Settings
from wae_jax.errors import UserError
from wae_jax.runtime import process
from wae_jax.study import load, measure, runs, study


@pytest.fixture(autouse=True)
def own_thread(monkeypatch):
    """Collects calls of ``call_on_own_thread``: other tests shall not be changed by them."""
    calls = []
    monkeypatch.setattr(process, "call_on_own_thread", lambda: calls.append(1))
    return calls


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Times are not what these tests want to know."""
    monkeypatch.setattr(measure, "TIMING_SECONDS", 0.1)


def nothing_of(monkeypatch, *names):
    """Lets none of these functions of the study be called."""

    def refuse_call(*arguments, **options):
        raise AssertionError("it was called")

    for name in names:
        monkeypatch.setattr(study, name, refuse_call)


def read_csv(path):
    with path.open() as file:
        return {row["variant"]: row for row in csv.DictReader(file)}


VARIANTS = ["full", "lowres", "wae", "lowres+distill"]


@pytest.fixture(scope="module")
def studied(config_file, tmp_path_factory):
    """The folder of a study, trained only."""
    folder = tmp_path_factory.mktemp("study")
    options = [f"--variants={','.join(VARIANTS)}", "--seeds=3", f"--workdir={folder}"]
    assert call("study", f"--config={config_file}", *options, "--only=train") == 0
    return folder


@pytest.fixture
def folder(studied, tmp_path):
    """A copy of it; the teacher's path in its records stays that of the original."""
    return shutil.copytree(studied, tmp_path / "study")


def test_training_alone_leaves_a_record_per_run(studied):
    names = {f"{name}-3" for name in VARIANTS}
    assert {p.stem for p in studied.glob("*.json")} == names
    assert {p.name for p in studied.iterdir() if p.is_dir()} == names
    taught = runs.read(studied / "lowres+distill-3.json")
    assert (taught.variant, taught.seed, len(taught.correct)) == ("lowres+distill", 3, 96)
    assert taught.top1 == taught.correct.mean()
    # Batch norms are folded, so scores differ by rounding: by an image at most.
    assert taught.top1 == pytest.approx(taught.figures["top1"], abs=1.01 / 96)
    teacher = studied / "full-3"
    assert taught.teacher["path"] == str(teacher) == taught.differs["distill.teacher"]
    assert taught.teacher["sha256"]
    assert taught.differs["model.frontend.name"] == "downsample"
    wae = runs.read(studied / "wae-3.json")
    assert wae.teacher is None
    assert wae.images_seen == 3 * 4 * 16 and wae.resumed_from_step == 0
    assert [stage["steps"] for stage in wae.stages] == [4, 4, 4] and wae.images_per_s > 0
    assert 0 < wae.hours < 1 and wae.machine["cpu"] and wae.load["own_cores"] > 0
    held = json.loads((studied / "lowres-3/config.json").read_text())
    assert held["distill"]["teacher"] == ""


def test_the_rest_of_a_study_is_counted_timed_and_reported(
    monkeypatch, config_file, succeed, own_thread, folder, studied, as_described
):
    timed = []

    def program(network, runtime, batch_size):
        assert own_thread  # before anything that is timed was compiled
        timed.append((network.method, batch_size))
        return program_of(network, runtime, batch_size)

    monkeypatch.setattr(measure, "program_of", program)
    monkeypatch.setattr(load, "TOLERATED", -1.0)
    nothing_of(monkeypatch, "train", "evaluate_each")
    options = [f"--config={config_file}", f"--workdir={folder}", "--seeds=3"]
    out = succeed("study", *options, "--variants=full,lowres,wae", "--picture_of=wae")
    # All of the folder are timed; what the teacher changed are weights.
    names = ["full", "lowres", "wae"]
    assert sorted(timed) == sorted((name, batch) for name in names for batch in (1, 32))
    rows = read_csv(folder / "results.csv")
    assert list(rows) == names
    assert float(rows["full"]["mac_ratio"]) == float(rows["full"]["speedup_batch_1"]) == 1.0
    assert 3.5 < float(rows["lowres"]["mac_ratio"]) <= 4.5
    for row in rows.values():
        assert round(float(row["top1"]) * 96) / 96 == pytest.approx(float(row["top1"]), abs=1e-4)
        assert float(row["ms_batch_1"]) > 0 and float(row["ms_batch_32"]) > 0
    assert rows["wae"]["above_curve"] != "" == rows["lowres"]["above_curve"]
    record = json.loads((folder / "results.env.json").read_text())
    assert record["cpu"] and "during the timing" in record["warnings"][0]
    assert "WARNING: other programs used" in out
    assert (folder / "results.png").stat().st_size > 10_000
    assert (folder / "sub_images.png").exists()
    left = {path.name for path in folder.iterdir() if not path.stem.endswith("-3")}
    assert "times.json" in left
    as_described(left, "A study's folder")
    assert "gap recovered" in out and "| lowres" in out


def test_a_report_needs_the_records_only(succeed, refuse, folder, tmp_path):
    for run in folder.iterdir():
        if run.is_dir():
            shutil.rmtree(run)
    out = succeed("study", f"--workdir={folder}", "--only=report", "--compare=full,lowres")
    rows = read_csv(folder / "results.csv")
    assert next(iter(rows)) == "full" and set(rows) == set(VARIANTS)
    assert rows["lowres+distill"]["macs"] == rows["lowres"]["macs"]
    assert "McNemar" in out and "no times of full" in out and not (folder / "results.png").exists()
    refuse(["no runtime"], "study", f"--workdir={folder}", "--only=measure", "--runtimes=abacus")
    refuse(["wavelet"], "study", f"--workdir={folder}", "--only=report", "--variants=wavelet")
    refuse(["no record"], "study", f"--workdir={tmp_path}", "--only=report")
    refuse(["--compare", "wea"], "study", f"--workdir={folder}", "--only=report", "--compare=wea,b")


def test_times_are_measured_again_alone_and_kept(succeed, folder):
    succeed("study", f"--workdir={folder}", "--only=measure", "--variants=full,lowres+distill")
    first = read_csv(folder / "results.csv")
    assert list(first) == ["full", "lowres+distill"] and first["full"]["ms_batch_1"]
    succeed("study", f"--workdir={folder}", "--only=report", f"--csv={folder}/again.csv")
    again = read_csv(folder / "again.csv")
    assert {name: again[name]["ms_batch_32"] for name in first} == {
        name: row["ms_batch_32"] for name, row in first.items()
    }
    assert again["lowres"]["ms_batch_1"] == again["lowres+distill"]["ms_batch_1"] != ""
    assert (folder / "again.png").exists() and (folder / "again.env.json").exists()


def test_a_stopped_run_goes_on_and_finished_ones_stay(
    monkeypatch, config_file, command, studied, tmp_path
):
    shutil.copytree(studied, tmp_path, dirs_exist_ok=True)
    kept = json.loads((tmp_path / "wae-3.json").read_text())
    (tmp_path / "wae-3.json").unlink()
    log = tmp_path / "wae-3" / "metrics.jsonl"
    lines = [line for line in log.read_text().splitlines() if json.loads(line)["step"] <= 8]
    log.write_text("\n".join(lines) + "\n")
    shutil.rmtree(tmp_path / "wae-3" / "checkpoints" / "12")  # stopped after two of three stages
    trained = []
    monkeypatch.setattr(study, "train", lambda c, d: trained.append(d) or train(c, d))
    status, _, err = command(
        "study", f"--config={config_file}", f"--workdir={tmp_path}", "--only=train",
        "--variants=full,lowres,wae", "--seeds=3",
    )  # fmt: skip
    assert status == 0 and trained == [str(tmp_path / "wae-3")]
    assert "wae, seed 3 (run 3 of 3); time left: unknown" in err
    assert "continuing from" in err
    record = runs.read(tmp_path / "wae-3.json")
    assert record.resumed_from_step == 8
    assert (record.predicted, record.top1) == (kept["predicted"], kept["top1"])


def test_a_run_with_another_config_is_refused_before_training(
    monkeypatch, config_file, refuse, folder, tmp_path
):
    other = tmp_path / "other.py"
    other.write_text(config_file.read_text().replace("learning_rate=0.01", "learning_rate=0.02"))
    nothing_of(monkeypatch, "train")
    options = [f"--config={other}", f"--workdir={folder}", "--variants=full,lowres", "--seeds=3"]
    words = ["full-3", "learning_rate", "0.01", "0.02"]
    refuse(words, "study", *options)
    # So is one without a record, which was stopped.
    (folder / "full-3.json").unlink()
    refuse(words, "study", *options)


def test_one_teacher_for_all_seeds(monkeypatch, config_file, studied, tmp_path, succeed):
    asked = []

    def train_nothing(workdir, name, seed, settings, first, before):
        asked.append((name, seed, settings.distill.teacher))

    monkeypatch.setattr(study, "_finish", train_nothing)
    teacher = str(studied / "full-3")
    options = [f"--config={config_file}", f"--workdir={tmp_path}", "--only=train", "--seeds=0,1"]
    succeed("study", *options, "--variants=lowres+distill", f"--teacher={teacher}")
    assert asked == [("lowres+distill", 0, teacher), ("lowres+distill", 1, teacher)]


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
        ({"variants": "full+distill,full"}, ["full+distill", "--teacher"]),
        ({"variants": None}, ["--variants"]),
        ({"variants": "full,full+taylor"}, ["full+taylor", "needs", "macs"]),
        ({"variants": "full,full+taylor-0.5x"}, ["no step 'taylor-0.5x'", "taylor-2x"]),
        ({"variants": "full,full+magic"}, ["no step 'magic'", "thinet-0.5"]),
        ({"variants": "full,full+thinet-0.5-2x"}, ["full+thinet-0.5-2x", "takes no"]),
        ({"variants": "full+taylor-2x,full"}, ["made of full", "before it"]),
        ({"variants": "full,lowres+int8"}, ["made of lowres", "before it"]),
        ({"variants": "full,lowres,lowres+cp-2x+distill"}, ["made of lowres+distill"]),
        ({"config": None}, ["--config"]),
        ({"only": "everything"}, ["--only", "measure"]),
        ({"seconds": "0"}, ["--seconds"]),
        ({"teacher": "folder"}, ["--teacher", "+distill"]),
        ({"teacher": "folder", "variants": "wae+distill"}, ["no checkpoint in folder"]),
        ({"compare": "full"}, ["--compare"]),
        ({"compare": "full,lowres"}, ["--compare", "lowres"]),
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
    nothing_of(monkeypatch, "train")
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


@pytest.mark.filterwarnings(r"ignore:the load_module\(\) method is deprecated:DeprecationWarning")
def test_config_keys_are_set_for_all_variants(config_file, succeed, refuse, monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(study, "run_study", lambda variants, *rest, **more: seen.update(variants))
    options = "study", f"--config={config_file}", "--variants=full,wae", f"--workdir={tmp_path}"
    succeed(*options, "--only=train", "--config.stages.joint.steps=9", "--config.data.workers=1")
    assert {settings.stages["joint"].steps for settings in seen.values()} == {9}
    assert {settings.data.workers for settings in seen.values()} == {1}
    assert {s.model.frontend.name for s in seen.values()} == {"identity", "wae"}
    refuse(["no key nonsense"], *options, "--only=train", "--config.nonsense=1")
    meant = "no option --stages.joint.steps (did you mean --config.stages.STAGE.steps?)"
    refuse([meant], *options, "--only=train", "--stages.joint.steps=9")


@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore:the load_module\(\) method is deprecated:DeprecationWarning")
def test_variants_are_made_of_others(config_file, command, succeed, tmp_path):
    """A pruned network, its int8 file, and rows for all of them; run again, nothing is left."""
    names = ["full", "full+thinet-1.5x", "full+thinet-1.5x+int8"]
    options = [
        *(
            "study",
            f"--config={config_file}",
            f"--workdir={tmp_path}",
            "--config.compress.images=32",
            "--config.model.backbone.plan=4 6 M",
        ),
        *(f"--variants={','.join(names)}", "--runtimes=jax,onnxruntime", "--seconds=1"),
    ]
    succeed(*options)
    full, small, int8 = (runs.read(tmp_path / f"{name}-0.json") for name in names)
    assert small.config["model"] == full.config["model"] != small.model
    assert small.macs == int8.macs < full.macs and small.model == int8.model
    assert [s["step"] for s in small.compression] == ["trained", "compressed", "fine-tuned"]
    assert small.total("images_seen") == full.images_seen + small.images_seen
    assert (int8.images_seen, int8.total("epochs")) == (0, small.total("epochs"))
    assert (tmp_path / f"{names[2]}-0" / "int8.onnx").is_file()
    # The same photos, classified by the file.
    assert len(int8.correct) == len(full.correct) == 96
    assert np.mean(int8.correct == small.correct) > 0.8
    rows = read_csv(tmp_path / "results.csv")
    assert list(rows) == names
    assert rows[names[2]]["ms_batch_1"] == "" != rows[names[2]]["ms_onnxruntime_batch_1"]
    assert float(rows[names[1]]["speedup_batch_1"]) > 0 and float(rows["full"]["epochs"]) > 0
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*-0.json")}
    status, _, err = command(*options, "--only=train")
    assert status == 0 and "run 1 of 3" not in err
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*-0.json")} == before
