"""docs/reference/files.md against what the programs write."""

import dataclasses
import json
import re

import jax

from tests.commands.conftest import CONFIG, call
from wae_jax.bench import data_bench, exported, measure
from wae_jax.bench.environment import environment
from wae_jax.checkpoints import folders, store
from wae_jax.checkpoints.manifest import ITEMS, MANIFEST
from wae_jax.export.checkpoint import open_exported
from wae_jax.study import runs
from wae_jax.training.loop import train


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


TRAINING, EVALUATION = "metrics.jsonl, training", "metrics.jsonl, evaluation"


def test_metrics(trained, as_described):
    workdir, figures = trained
    assert {line["stage"] for line in lines(workdir)} == {"autoencoder", "classifier", "joint"}
    for line in lines(workdir):
        as_described(line, EVALUATION if "eval_count" in line else TRAINING)
    as_described(figures, EVALUATION, "The last line of train.py on stdout")


def test_metrics_with_all_that_can_be_on(trained, as_described, tmp_path):
    """The rows of the table that other runs lack, one by one."""
    workdir, _ = trained
    scope: dict = {}
    exec(CONFIG, scope)
    config = scope["get_config"]()
    config.distill.update(teacher=str(workdir), feature_weight=0.5)
    config.losses.low_weight = 1.0
    config.update(run_stages=("joint",), on_nan="skip", log_every=2)
    config.stages.joint.steps = 2
    train(config, str(tmp_path))
    line = lines(tmp_path)[0]
    as_described(line, TRAINING)
    assert {"low", "distillation", "features", "skipped"} <= line.keys()


def test_workdir_and_checkpoint(trained, as_described):
    workdir, _ = trained
    as_described(
        {re.sub(r"tfevents\..*", "tfevents.*", path.name) for path in workdir.iterdir()}
        - {folders.FOLDER}
        | {f"{folders.FOLDER}/STEP/"},
        "A run's workdir",
    )
    step = folders.find(str(workdir))
    assert {*ITEMS, MANIFEST} <= {path.name for path in step.iterdir()}
    as_described({*(f"{item}/" for item in ITEMS), MANIFEST}, "A checkpoint")
    as_described(store.read_meta(step), "meta")


def test_study(root, as_described, tmp_path):
    csv = tmp_path / "results.csv"
    records = root / "results" / "grocery"
    assert call("study", f"--workdir={records}", "--only=report", f"--csv={csv}") == 0
    as_described(csv.read_text().splitlines()[0].split(","), "The study's CSV")
    timed = (root / "results" / "cifar10.csv").read_text().splitlines()[0].split(",")
    cell = re.compile(r"(_onnxruntime)?_batch_\d+")
    as_described({cell.sub("_CELL", name) for name in timed}, "The study's CSV")
    record = {"format", *(field.name for field in dataclasses.fields(runs.Run))}
    as_described(record, "The record of a run")


def test_benchmarks(as_described):
    for kind, heading in (
        (measure.Row, "bench --csv, and rows of --json"),
        (exported.FileRow, "bench --input --csv"),
        (data_bench.Row, "data-bench --csv"),
    ):
        as_described([field.name for field in dataclasses.fields(kind)], heading)
    as_described(environment(jax.devices("cpu")[0]), "NAME.env.json")


def test_exported_file(trained, as_described):
    as_described(open_exported(str(trained[0]), 1).network.metadata, "An exported file")
