"""Exported files against each other, in what serves them."""

import pytest

from wae_jax.bench import exported
from wae_jax.bench.exported import time_files
from wae_jax.bench.networks import build_network
from wae_jax.bench.runtimes import write_onnx
from wae_jax.config import settings_from_config
from wae_jax.errors import UserError
from wae_jax.methods import set_method


@pytest.fixture(scope="module")
def files(tiny_config, tmp_path_factory):
    """Paths of a network for one image and for any number."""
    settings = settings_from_config(set_method(tiny_config(), "lowres"))
    network = build_network("lowres", settings, "float32", platform="cpu")
    paths = [tmp_path_factory.mktemp("files") / f"{name}.onnx" for name in ("one", "any")]
    for path, batch in zip(paths, (1, None), strict=True):
        write_onnx(network, batch, path)
    return [str(path) for path in paths]


def test_files_are_timed_against_each_other(files):
    rows = time_files(files, ("onnxruntime", "openvino"), (1, 2), seconds=0.05)
    found = [(row.batch_size, row.runtime, row.file) for row in rows]
    one, many = files
    assert found == [
        (1, "onnxruntime", one),
        (1, "onnxruntime", many),
        (1, "openvino", one),
        (1, "openvino", many),
        (2, "onnxruntime", many),
        (2, "openvino", many),
    ]
    assert rows[0].speedup == rows[4].speedup == 1.0
    for row in rows:
        assert row.latency_p10_ms <= row.latency_ms <= row.latency_p90_ms
        assert row.images_per_s == pytest.approx(1e3 * row.batch_size / row.latency_ms)
        assert row.ready_s > 0
    text = exported.as_text(rows, {"cpu": "Some CPU", "date": "today", "onnxruntime": "1.2.3"})
    assert text.startswith("Some CPU, ") and "ONNX Runtime 1.2.3" in text
    assert len(text.splitlines()) == 2 + 2 + len(rows)


@pytest.mark.parametrize(
    "name, runtimes, message",
    [
        ("none.onnx", ("onnxruntime",), "--input: no file none.onnx"),
        ("README.md", ("onnxruntime",), r"does not end in \.onnx or \.stablehlo"),
        ("", ("jax",), r"runs in onnxruntime and openvino, and --runtimes names jax$"),
    ],
)
def test_files_that_cannot_be_timed(name, runtimes, message, files):
    with pytest.raises(UserError, match=message):
        time_files([name or files[0]], runtimes, (1,), seconds=0.05)


def test_a_damaged_file_is_one_line(tmp_path):
    path = tmp_path / "damaged.onnx"
    path.write_bytes(b"no graph")
    for runtime in ("onnxruntime", "openvino"):
        with pytest.raises(UserError, match=r"does not take .*damaged\.onnx: [^\n]+$"):
            time_files([str(path)], (runtime,), (1,), seconds=0.05)
