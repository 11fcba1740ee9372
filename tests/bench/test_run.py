"""A whole benchmark on a tiny network: rows, parts, warnings, and what is written of them."""

import csv
import dataclasses
import json
import sys

import jax
import pytest

from tests.networks import TWO_BRANCHES
from wae_jax.bench import breakdown, plots, report
from wae_jax.bench.environment import busy_warning, environment
from wae_jax.bench.measure import Row, model_job
from wae_jax.bench.networks import build_network, class_count
from wae_jax.bench.run import Options, run_benchmark
from wae_jax.config import settings_from_config
from wae_jax.errors import UserError
from wae_jax.methods import set_method

METHODS = ("full", "lowres", "wae")
REQUIRED = {
    "method",
    "backbone",
    "image_size",
    "batch_size",
    "dtype",
    "backend",
    "device",
    "params",
    "macs",
    "xla_flops",
    "compile_s",
    "latency_ms",
    "latency_p10_ms",
    "latency_p90_ms",
    "images_per_s",
    "peak_temp_bytes",
    "speedup",
    "speedup_low",
    "speedup_high",
    "mac_ratio",
    "top1",
    "top5",
}


def settings_of(config, methods=METHODS):
    return {
        m: settings_from_config(set_method(config.copy_and_resolve_references(), m))
        for m in methods
    }


@pytest.fixture(scope="module")
def results(tiny_config):
    settings = settings_of(
        tiny_config({"stages.joint.batch_size": 4, "stages.end_to_end.batch_size": 4})
    )
    return run_benchmark(
        settings, Options(batch_sizes=(1, 3), seconds=0.05, breakdown=True, throughput=True)
    )


def test_there_is_a_row_for_everything(results):
    assert [(r.batch_size, r.method) for r in results.rows] == [
        (batch, method) for batch in (1, 3) for method in METHODS
    ]
    assert {f.name for f in dataclasses.fields(Row)} >= REQUIRED
    for row in results.rows:
        assert (row.scope, row.dtype, row.backend) == ("model", "float32", "cpu")
        assert row.image_size == 16
        assert row.backbone == "vgg 8 M 8 M"
        assert row.top1 is None and row.top5 is None


def test_figures_of_a_row_fit_together(results):
    full = {row.batch_size: row for row in results.rows if row.method == "full"}
    for row in results.rows:
        base = full[row.batch_size]
        assert row.latency_p10_ms <= row.latency_ms <= row.latency_p90_ms
        assert row.images_per_s == pytest.approx(1e3 * row.batch_size / row.latency_ms)
        # A queue cannot be much slower than its calls one by one.
        assert row.throughput_images_per_s > row.images_per_s / 4
        assert row.speedup_low <= row.speedup <= row.speedup_high
        assert row.mac_ratio == base.macs / row.macs
        assert row.rounds >= 15
    assert full[1].speedup == full[1].mac_ratio == 1.0
    # What is counted per image does not depend on the batch.
    for one, three in zip(results.rows[:3], results.rows[3:], strict=True):
        assert (one.macs, one.params) == (three.macs, three.params)
    # 8 and 8 convs of 3x3 at 16x16 and 8x8, then 8 features to 10 classes; a quarter at half size.
    assert full[1].macs == 9 * (16 * 16 * 3 * 8 + 8 * 8 * 8 * 8) + 80
    lowres = results.rows[1]
    assert lowres.macs == 9 * (8 * 8 * 3 * 8 + 4 * 4 * 8 * 8) + 80
    assert lowres.params == full[1].params == 9 * (3 * 8 + 8 * 8) + 16 + 80 + 10


def test_how_a_network_is_computed_does_not_change_its_figures(tiny_config):
    """A batch of 8 has Winograd's weights in this plan, a single image has not."""
    config = tiny_config({"model.backbone.plan": "256 256", "data.image_size": 7})
    network = build_network(
        "full", settings_of(config, ("full",))["full"], "float32", platform="cpu"
    )
    one, many = (model_job(network, batch, jax.devices()[0]) for batch in (1, 8))
    assert len(jax.tree.leaves(network.variables_for(8))) > (
        len(jax.tree.leaves(network.variables_for(1)))
    )
    assert (one.macs, one.params) == (many.macs, many.params)
    assert one.program.xla_flops == pytest.approx(many.program.xla_flops / 8, rel=0.01)


def test_parts_sum_to_the_whole(results):
    for row in results.rows:
        parts = [
            p for p in results.breakdown if (p.method, p.batch_size) == (row.method, row.batch_size)
        ]
        expected = ["front end", "low branch", "light branch", "heads", "rest"]
        if row.method != "wae":
            expected.remove("light branch")
        assert [p.part for p in parts] == expected
        assert sum(p.macs for p in parts) == row.macs
        assert all(p.latency_ms > 0 for p in parts if p.part != "rest")


def test_early_fusion_has_its_parts_too(tiny_config):
    network = build_network(
        "wae-early",
        settings_of(tiny_config(), ("wae-early",))["wae-early"],
        "float32",
        platform="cpu",
    )
    calls = breakdown.part_calls(network, 1, jax.devices()[0])
    assert list(calls) == ["front end", "low branch", "heads"]
    assert calls["low branch"]().shape[0] == 1


def test_environment_is_recorded(results):
    env = results.environment
    assert env["jax"] == jax.__version__
    assert env["backend"] == "cpu" and env["device"] == env["cpu"] == results.rows[0].device
    assert env["cores"] >= 1 and env["cpu_threads"] == 16  # conftest's PJRT_NPROC
    assert "ynn_fusion_type" in env["xla_flags"]
    assert env["date"].endswith("+00:00")
    assert env.keys() >= {"python", "jaxlib", "flax", "numpy", "torch", "load_average"}
    assert env["matmul_precision"] is None
    assert env["compilation_cache"] and "/" not in env["compilation_cache"]
    with jax.default_matmul_precision("highest"):
        assert environment(jax.devices()[0])["matmul_precision"] == "highest"


@pytest.mark.parametrize("load, busy", [(None, False), (2.0, False), (2.5, True)])
def test_a_busy_machine_is_told(load, busy):
    text = busy_warning({"load_average": load, "cores": 2})
    assert ("load 2.5 on 2 cores" in text) if busy else text == ""


def test_json_and_csv_hold_the_same_rows(results, as_described, tmp_path):
    read = json.loads(report.as_json(results))
    as_described(read, "bench --json")
    assert read.keys() == {"environment", "networks", "rows", "breakdown", "peer", "warnings"}
    assert read["environment"] == results.environment
    assert read["networks"]["lowres"]["frontend"]["name"] == "downsample"
    report.write_csv(results, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["method"] for line in lines] == [row["method"] for row in read["rows"]]
    for line, row in zip(lines, read["rows"], strict=True):
        assert line == {key: "" if value is None else str(value) for key, value in row.items()}
    assert json.loads((tmp_path / "rows.env.json").read_text()) == results.environment


def test_text_is_an_aligned_table(results):
    lines = [line for line in report.as_text(results).splitlines() if line.startswith("|")]
    tables = [line for line in lines if line.startswith(("| method", "| full", "| wae"))]
    assert "GMACs / image" in tables[0]
    first = lines[:5]
    assert len({len(line) for line in first}) == 1
    assert first[2].startswith("| full") and "1.00x" in first[2]


def test_plot_is_written(results, tmp_path):
    with_accuracy = [
        dataclasses.replace(row, top1=0.5 + 0.1 * i) for i, row in enumerate(results.rows)
    ]
    for i, rows in enumerate((results.rows, with_accuracy, [])):
        path = tmp_path / f"{i}.png"
        plots.plot_rows(rows, path)
        assert path.read_bytes().startswith(b"\x89PNG")


def make_row(**changes) -> Row:
    fields = {field.name: None for field in dataclasses.fields(Row)}
    return Row(
        **fields
        | {
            "scope": "model",
            "method": "wae",
            "batch_size": 8,
            "dtype": "float32",
            "macs": 300,
            "mac_ratio": 10 / 3,
            "latency_ms": 50.0,
            "speedup": 2.0,
        }
        | changes
    )


FULL = make_row(method="full", macs=1000, mac_ratio=1.0, latency_ms=100.0, speedup=1.0)


def make_part(part, macs, ms):
    return breakdown.Part("wae", 8, "float32", part, macs, ms)


def test_warning_names_the_part_that_loses_most():
    other = dataclasses.replace(make_part("heads", 0, 90.0), batch_size=1)
    parts = [
        make_part("front end", 60, 21.0),
        make_part("low branch", 240, 28.0),
        make_part("rest", 0, 1.0),
        other,
    ]
    text = breakdown.warning(make_row(), FULL, parts)
    assert text == (
        "wae, batch 8, float32: 2.00x faster is only 60 % of its MAC ratio of 3.33x. Most is lost "
        "in the front end: 21 of 50 ms, where its MACs would take 6 ms at full's rate."
    )
    parts[2] = make_part("rest", 0, 20.0)
    assert "what lies between the parts: 20 of 50 ms" in breakdown.warning(make_row(), FULL, parts)


@pytest.mark.parametrize(
    "changes, short",
    [
        ({}, True),
        ({"speedup": 2.9}, False),
        ({"speedup": 2.8}, True),
        ({"speedup": None}, False),
        ({"scope": "end_to_end"}, False),
        ({"method": "full"}, False),
        ({"mac_ratio": None}, False),
    ],
)
def test_only_rows_far_below_their_mac_ratio_fall_short(changes, short):
    assert breakdown.falls_short(make_row(**changes)) is short


def test_training_steps_without_the_baseline(tiny_config):
    config = tiny_config(TWO_BRANCHES | {"stages.joint.batch_size": 4})
    options = Options(batch_sizes=(1,), seconds=0.05, train_step=True)
    model, train = run_benchmark(settings_of(config, ("wae",)), options).rows
    assert (train.scope, train.batch_size) == ("train_step", 4)
    assert train.macs > 2.5 * model.macs and train.params > model.params
    assert train.speedup is None and train.mac_ratio is None
    assert model.throughput_images_per_s is None  # not asked for


def test_bfloat16_weights_are_stored_so(tiny_config):
    settings = settings_from_config(tiny_config(TWO_BRANCHES))
    network = build_network("wae", settings, "bfloat16", platform="cpu")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(network.variables["params"])} == {
        "bfloat16"
    }


@pytest.mark.parametrize("name, classes", [("imagenet2012", 1000), ("cifar10", 10)])
def test_classes_are_known_without_data(tiny_config, name, classes):
    config = tiny_config({"data.name": name, "data.data_dir": "/nowhere"})
    assert class_count(settings_from_config(config).data) == classes


@pytest.mark.parametrize(
    "options, words",
    [
        (Options(batch_sizes=()), "at least one"),
        (Options(batch_sizes=(0,)), "above 0"),
        (Options(dtypes=("float8",)), "float8"),
        (Options(device="tpu"), "--devices=tpu"),
        (Options(checkpoints={"waee": "runs/wae"}), "waee"),
        (Options(checkpoints={"wae": "no/such/folder"}), "no such directory"),
        (Options(peer="torch", dtypes=("bfloat16",)), "float32"),
    ],
)
def test_options_that_cannot_be_used(tiny_config, options, words):
    with pytest.raises(UserError, match=words):
        run_benchmark(settings_of(tiny_config()), options)


def test_peer_without_torch_names_what_to_install(tiny_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="pip install torch"):
        run_benchmark(settings_of(tiny_config()), Options(peer="torch"))
