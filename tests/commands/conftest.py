"""The commands in this process, and the files that several of them are tried on."""

import json
import sys

import numpy as np
import pytest
import safetensors.numpy

from tests.pretrained import seeded
from wae_jax import __main__ as program
from wae_jax.runtime import cache
from wae_jax.training.loop import train

CLASSES = 50

# Imports only the package, so that it works from anywhere. A few steps of a tiny network.
CONFIG = """
from wae_jax.config import default_config
from wae_jax.methods import set_method


def get_config(variant="wae"):
    config = default_config()
    config.data.update(
        name="cifar10",
        train_split="train[:256]",
        eval_split="test[:96]",
        image_size=32,
        augmentation="small",
        eval_batch_size=64,
    )
    config.model.backbone.update(name="vgg", plan="4 M", batch_norm=True)
    config.model.frontend.update(
        encoder="polyphase", channels=8, depth=1, activation="none", decoder="polyphase"
    )
    config.model.head.update(kind="pool", dropout=0.0)
    config.losses.update(gamma=0.01, reduction="mean")
    for stage in config.stages.values():
        stage.update(steps=4, batch_size=16, learning_rate=0.01, clip_norm=1.0)
    config.stages.autoencoder.update(optimizer="adam", learning_rate=0.002)
    config.parallel.devices = 1
    return set_method(config, variant)
"""


def forget_flags(values) -> None:
    """Makes flags as a new process would have them: no value kept, no key of an earlier config."""
    values.unparse_flags()
    for name in [name for name in values if name.startswith("config.")]:
        delattr(values, name)
    for name in values:
        values[name].unparse()


def call(*arguments) -> int:
    """``wae-jax ARGUMENTS`` in this process; the exit status."""
    for name, module in list(sys.modules.items()):
        if name.startswith("wae_jax.commands.") and hasattr(module, "FLAGS"):
            forget_flags(module.FLAGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["wae-jax", *map(str, arguments)])
        # It is for good, and later tests of this process want what is compiled to be kept.
        patch.setattr(cache, "compile_afresh", lambda: None)
        try:
            program.main()
        except SystemExit as end:
            return end.code or 0
    return 0


@pytest.fixture
def command(capsys):
    """Function that runs a command: (exit status, stdout, stderr)."""

    def run(*arguments):
        capsys.readouterr()
        status = call(*arguments)
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def succeed(command):
    """Function that runs a command which must succeed: its stdout."""

    def run(*arguments):
        status, out, err = command(*arguments)
        assert status == 0, err
        return out

    return run


@pytest.fixture
def refuse(command):
    """Function that runs a command which must refuse its options: its one line on stderr.

    Nothing may be on stdout, and the words of the first argument in the line.
    """

    def run(words, *arguments):
        status, out, err = command(*arguments)
        assert (status, out) == (2, ""), err
        assert err.startswith("error: ") and err.count("\n") == 1, err
        for word in words:
            assert word in err
        return err

    return run


@pytest.fixture(scope="session")
def config_file(tmp_path_factory, cifar10):
    """A config file outside the repository."""
    path = tmp_path_factory.mktemp("config") / "tiny.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory, cifar10):
    """(workdir, figures) of a finished run of that config: wae, all three stages."""
    scope = {}
    exec(CONFIG, scope)
    workdir = tmp_path_factory.mktemp("trained")
    return workdir, train(scope["get_config"](), str(workdir))


def resnet18(root, classes: int = CLASSES) -> dict[str, np.ndarray]:
    """torchvision's ResNet-18, seeded weights."""
    fixture = json.loads((root / "tests/pretrained/fixtures/torchvision.json").read_text())
    shapes = fixture["computed"]["torchvision resnet18"]["shapes"]
    shapes |= {"fc.weight": (classes, 512), "fc.bias": (classes,)}
    return {
        name: seeded.weights(name, tuple(shape))
        for name, shape in shapes.items()
        if "num_batches" not in name
    }


@pytest.fixture
def arrays(root):
    """The weights of :func:`weights_file`; a test may change them."""
    return resnet18(root)


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory, root):
    """They as torchvision would save them."""
    file = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    safetensors.numpy.save_file(resnet18(root), file)
    return file


@pytest.fixture(scope="session")
def imported(tmp_path_factory, weights_file):
    """What import-weights made of them, with class names; alone in its folder but for these."""
    folder = tmp_path_factory.mktemp("imported")
    labels = folder / "labels.txt"
    labels.write_text("\n".join(f"class number {i}" for i in range(CLASSES)))
    assert (
        call(
            "import-weights",
            "--source=torchvision",
            "--model=resnet18",
            f"--in={weights_file}",
            f"--out={folder / 'net'}",
            f"--labels={labels}",
        )
        == 0
    )
    return folder / "net"
