"""docs/reference/files.md against what the programs write."""

import dataclasses
import json
import re

import jax
import pytest

from tests.commands.conftest import call
from wae_jax.bench import data_bench, exported, measure
from wae_jax.bench.environment import environment
from wae_jax.checkpoints import folders, store
from wae_jax.checkpoints.manifest import ITEMS, MANIFEST
from wae_jax.export.checkpoint import open_exported
from wae_jax.study import runs


@pytest.fixture(scope="module")
def described(root):
    """{heading: {field: whether it is always there}} of the page's tables."""
    text = (root / "docs" / "reference" / "files.md").read_text()
    found = {}
    for section in re.split(r"^#+ ", text, flags=re.M)[1:]:
        heading, _, body = section.partition("\n")
        found[heading] = {
            name: not when.strip()
            for names, _, when in re.findall(r"^\| (`.+?`) \| (.*?) \| (.*?)\|$", body, re.M)
            for name in re.findall(r"`(\w+)`", names)
        }
    return found


def compare(fields, written):
    """``written``: names of fields of one object."""
    assert set(written) - fields.keys() == set()
    assert {name for name, always in fields.items() if always} - set(written) == set()


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_metrics(trained, described):
    workdir, figures = trained
    train = described["metrics.jsonl, training"]
    assert {line["stage"] for line in lines(workdir)} == {"autoencoder", "classifier", "joint"}
    for line in lines(workdir):
        if "eval_count" in line:
            compare(described["metrics.jsonl, evaluation"], line)
        else:
            compare(train, line)
    last = described["The last line of train.py on stdout"]
    compare(described["metrics.jsonl, evaluation"] | last, figures)


def test_workdir_and_checkpoint(trained, described, root):
    workdir, _ = trained
    text = (root / "docs" / "reference" / "files.md").read_text()
    for path in workdir.iterdir():
        name = re.sub(r"tfevents\..*", "tfevents.*", path.name)
        assert f"| `{name}" in text, name
    step = folders.find(str(workdir))
    for name in {path.name for path in step.iterdir()} & {*ITEMS, MANIFEST}:
        assert f"| `{name}" in text, name
    assert {*ITEMS, MANIFEST} <= {path.name for path in step.iterdir()}
    compare(described["meta"], store.read_meta(step))


def test_study(root, described, tmp_path):
    csv = tmp_path / "results.csv"
    records = root / "results" / "grocery"
    assert call("study", f"--workdir={records}", "--only=report", f"--csv={csv}") == 0
    fields = described["The study's CSV"]
    compare(fields, csv.read_text().splitlines()[0].split(","))
    timed = (root / "results" / "cifar10_early.csv").read_text().splitlines()[0].split(",")
    compare(fields, {re.sub(r"_batch_\d+", "_CELL", name) for name in timed})
    record = {"format", *(field.name for field in dataclasses.fields(runs.Run))}
    assert described["The record of a run"].keys() == record


def test_benchmarks(described):
    def names(kind):
        return {field.name for field in dataclasses.fields(kind)}

    assert described["bench --csv, and rows of --json"].keys() == names(measure.Row)
    assert described["bench --input --csv"].keys() == names(exported.FileRow)
    assert described["data-bench --csv"].keys() == names(data_bench.Row)
    compare(described["NAME.env.json"], environment(jax.devices("cpu")[0]))


def test_exported_file(trained, described):
    metadata = open_exported(str(trained[0]), 1).network.metadata
    compare(described["An exported file"], metadata)
