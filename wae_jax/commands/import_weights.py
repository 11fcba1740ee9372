"""Weights of other libraries as a checkpoint.

    wae-jax import-weights --source=torchvision --model=resnet50 --in=resnet50.safetensors \\
      --out=runs/resnet50-imported --labels=class_names.txt

Prints the folder that was written.
"""

import sys
from collections.abc import Sequence

from wae_jax.commands.flags import start
from wae_jax.commands.options import Parser
from wae_jax.config import default_config, settings_from_config
from wae_jax.methods import set_method


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    parser = Parser(prog="wae-jax import-weights", description=__doc__)
    parser.add_argument("--source", required=True, help="torchvision, timm, keras or caffe")
    parser.add_argument(
        "--model", required=True, help="the network, as resnet50; the source's name of it"
    )
    parser.add_argument("--in", required=True, dest="file", help="the file of weights")
    parser.add_argument("--out", required=True, help="the folder to write")
    parser.add_argument("--labels", default="", help="file of class names, a line each, or JSON")
    options = parser.parse_args(argv)
    start(lambda: _import_weights(options))


def _import_weights(options) -> None:
    from wae_jax.pretrained import checkpoint, import_network

    checkpoint.check_out(options.out)
    labels = checkpoint.read_labels(options.labels) if options.labels else ()
    settings = settings_from_config(set_method(default_config(), "full"))
    imported = import_network(options.source, options.model, options.file, settings.model)
    imported = checkpoint.with_labels(imported, labels)
    checkpoint.write_checkpoint(imported, settings, options.out)
    for line in imported.report:
        print(line, file=sys.stderr)
    print(options.out)
