"""Our ONNX files against those that PyTorch's exporter writes for the same weights.

    python tools/exporters.py --config=configs/resnet50.py --csv=results/resnet50_exporters.csv

Needs torch, onnxscript, onnx and onnxruntime. Both files of a network take the same uint8 images
and must give the same scores; then ONNX Runtime runs them in turn. A ``speedup`` above 1 says that
ours is faster.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from wae_jax.bench.environment import environment
from wae_jax.bench.exported import FileRow, time_files
from wae_jax.bench.measure import random_images
from wae_jax.bench.networks import Network, build_network
from wae_jax.bench.runtimes import TOLERANCE, worker_threads, write_onnx
from wae_jax.bench.torch_layers import import_torch
from wae_jax.bench.torch_network import TorchTwin
from wae_jax.commands.flags import read_config
from wae_jax.config import settings_from_config
from wae_jax.export.runtimes import open_onnxruntime
from wae_jax.methods import set_method
from wae_jax.runtime import tables

RUNTIME = "onnxruntime"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--methods", default="full,lowres,wae,wae-fast,wae-early")
    parser.add_argument("--batch_sizes", default="1,8")
    parser.add_argument("--seconds", type=float, default=30.0, help="of timing for each pair")
    parser.add_argument("--csv", type=Path, required=True)
    return parser.parse_args(arguments)


def main() -> None:
    """Prints and writes a row for each network and batch size."""
    options = parse()
    record = environment(jax.devices("cpu")[0])
    rows = []
    for method in options.methods.split(","):
        settings = settings_from_config(set_method(read_config(options.config, []), method))
        network = build_network(method, settings, "float32", platform="cpu")
        for batch_size in map(int, options.batch_sizes.split(",")):
            ours = compare(network, batch_size, options.seconds)
            row = {"method": method, "backbone": network.backbone, **dataclasses.asdict(ours)}
            del row["file"]
            rows.append(row)
            print(
                f"{method}, batch {batch_size}: {ours.latency_ms:.4g} ms, {ours.speedup:.3f}x "
                f"[{ours.speedup_low:.3f}, {ours.speedup_high:.3f}] of PyTorch's speed",
                flush=True,
            )
    tables.write_csv(options.csv, rows, record)


def compare(network: Network, batch_size: int, seconds: float) -> FileRow:
    """Times of our file; its speed-up is over the one that PyTorch wrote."""
    with tempfile.TemporaryDirectory(prefix="wae_jax_") as folder:
        ours, theirs = Path(folder, "ours.onnx"), Path(folder, "theirs.onnx")
        write_onnx(network, batch_size, ours)
        write_torch_onnx(network, batch_size, theirs)
        images = random_images(batch_size, network.image_size)
        # PyTorch's has one output, ours the probabilities as well.
        scores = [
            open_onnxruntime(path, worker_threads()).call(images)["scores"]
            for path in (ours, theirs)
        ]
        difference = float(np.abs(scores[0] - scores[1]).max() / np.abs(scores[0]).max())
        if not difference <= TOLERANCE:
            raise SystemExit(f"{network.method}: scores differ by {difference:.1e}")
        _, row = time_files([str(theirs), str(ours)], [RUNTIME], [batch_size], seconds=seconds)
    return row


def write_torch_onnx(network: Network, batch_size: int, path: Path) -> None:
    """The network's PyTorch twin, as PyTorch's exporter writes it (opset 18, constants folded)."""
    torch = import_torch()

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.twin = TorchTwin(network.model, jax.device_get(network.variables))

        def forward(self, images):
            return self.twin(images)

    images = torch.from_numpy(random_images(batch_size, network.image_size))
    torch.onnx.export(
        Module().eval(),
        (images,),
        str(path),
        input_names=["images"],
        output_names=["scores"],
        opset_version=18,
        dynamo=False,
    )


if __name__ == "__main__":
    main()
