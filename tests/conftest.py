"""Settings that must be in place before jax starts, and builders that the tests share."""

import atexit
import dataclasses
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# A real run has neither of these, so subprocesses start from the flags as they were.
PLAIN_XLA_FLAGS = os.environ.get("XLA_FLAGS", "")
# Tests compile a lot and compute little: LLVM's optimiser costs more than it saves. (Without XLA's
# fusion emitters it would be faster still, but then gradients were seen to jump by 1e-4 and more
# when the weights changed by 1e-7.)
FAST_COMPILE = "--xla_backend_optimization_level=0"
FAKE_DEVICES = "--xla_force_host_platform_device_count=4"

os.environ["PJRT_NPROC"] = "16"  # on few cores fake devices would wait for each other for ever
os.environ["XLA_FLAGS"] = f"{PLAIN_XLA_FLAGS} {FAKE_DEVICES} {FAST_COMPILE}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("WAE_JAX_CACHE", str(ROOT / ".cache" / "wae_jax"))
# What an earlier run compiled must not matter, but within a run each program is compiled once, for
# all workers and for the programs that tests start; nothing is too small to be kept.
COMPILED = "WAE_JAX_TESTS_COMPILED"
if COMPILED not in os.environ:
    os.environ[COMPILED] = tempfile.mkdtemp(prefix="wae-jax-tests-")
    atexit.register(shutil.rmtree, os.environ[COMPILED], ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ[COMPILED]
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

from wae_jax.runtime import process  # noqa: E402

process.configure()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from configs import quickstart  # noqa: E402
from wae_jax import data  # noqa: E402
from wae_jax.checkpoints.state import TrainState, new_state  # noqa: E402
from wae_jax.config import ModelSettings, Settings, settings_from_config  # noqa: E402
from wae_jax.models.classifier import Classifier, build_model, init_variables  # noqa: E402
from wae_jax.training.optim import make_optimizer  # noqa: E402
from wae_jax.training.stages import Stage, plan_stages, stage_labels  # noqa: E402
from wae_jax.training.steps import make_train_step  # noqa: E402

NUM_CLASSES = 10
EXAMPLES = 1600


def make_tiny_config(changes: dict[str, Any] | None = None):
    """A network of a few thousand parameters at 16 x 16 pixels, in all three stages.

    It sets what the quickstart config tunes, so that tuning that config breaks no test.
    changes: dotted key -> value, as on the command line.
    """
    config = quickstart.get_config()
    config.run_stages = ("autoencoder", "classifier", "joint")
    config.data.image_size = 16
    model = config.model
    model.input.update(mean=(125.0, 123.0, 114.0), std=(63.0, 62.0, 67.0))
    model.backbone.update(name="vgg", plan="8 M 8 M", batch_norm=True, width=1.0)
    model.light.width = 0.25
    model.frontend.update(
        name="wae",
        encoder="polyphase",
        channels=8,
        depth=1,
        activation="relu",
        normalise=True,
        decoder="polyphase",
        decoder_channels=8,
        decoder_activation="relu",
    )
    model.head.update(kind="pool", dropout=0.0)
    config.losses.update(
        gamma=0.1,
        energy_weight=1.0,
        reduction="mean",
        label_smoothing=0.1,
        auxiliary_low=0.0,
        auxiliary_fused=0.0,
        low_weight=0.0,
    )
    config.init.frontend = "auto"
    for stage in config.stages.values():
        stage.update(
            batch_size=16,
            epochs=1.0,
            optimizer="sgd",
            learning_rate=0.01,
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
            decay_biases=False,
            schedule="cosine",
            warmup_epochs=0.0,
            final_fraction=0.0,
            clip_norm=0.0,
            frontend_rate=1.0,
        )
    config.stages.autoencoder.update(optimizer="adam", learning_rate=2e-3)
    config.update_from_flattened_dict(changes or {})
    return config


_INITIAL: dict[str, Any] = {}
_STEPS: dict[str, Any] = {}


def _variables(model: ModelSettings, image_size: int):
    """Initial variables of a network, computed once."""
    key = f"{model} {image_size}"
    if key not in _INITIAL:
        network = build_model(model, num_classes=NUM_CLASSES, image_size=image_size)
        images = jnp.zeros((1, image_size, image_size, 3), jnp.uint8)
        _INITIAL[key] = jax.device_get(
            jax.jit(lambda x: init_variables(network, x, seed=0))(images)
        )
    return _INITIAL[key]


@dataclasses.dataclass
class Trainer:
    """One stage of a config, ready to step; what ``loop`` does, without files and loaders."""

    config: Any
    settings: Settings
    model: Classifier
    stage: Stage
    labels: Any
    optimizer: Any
    variables: Any  # numpy
    data_seed: int = 100

    def new_state(self, variables=None) -> TrainState:
        variables = jax.tree.map(jnp.array, variables or self.variables)
        state = new_state(variables, ema=self.settings.ema_decay > 0)
        return state.replace(opt_state=self.optimizer.init(state.params))

    def train_step(self, axis_name=None):
        """The pure step; under pmap with a model that knows the device axis."""
        model = self.model
        if axis_name is not None:
            model = build_model(
                self.settings.model,
                num_classes=NUM_CLASSES,
                image_size=self.settings.data.image_size,
                axis_name=axis_name,
            )
        return make_train_step(
            model,
            self.stage.settings,
            self.settings.losses,
            self.optimizer,
            self.labels,
            seed=7,
            ema_decay=self.settings.ema_decay,
        )

    @property
    def jit_step(self):
        """The compiled step, which is the same for all trainers of one stage and settings."""
        key = f"{self.stage} {self.settings}"
        if key not in _STEPS:
            _STEPS[key] = jax.jit(self.train_step())
        return _STEPS[key]

    def run(self, steps: int, variables=None):
        """``steps`` steps on one device: the last state and the metrics of each step."""
        state, metrics = self.new_state(variables), []
        for step in range(steps):
            state, parts = self.jit_step(state, self.batch(step))
            metrics.append(jax.device_get(parts))
        return jax.device_get(state), metrics

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Random photos with a little structure: a coloured slope and noise."""
        size, count = self.settings.data.image_size, self.stage.settings.batch_size
        rng = np.random.default_rng(self.data_seed + step)
        slope = np.linspace(0, 120, size)[None, :, None, None] * rng.random((count, 1, size, 3))
        image = slope + rng.integers(0, 136, (count, size, size, 3))
        return {
            "image": image.astype(np.uint8),
            "label": rng.integers(0, NUM_CLASSES, count).astype(np.int32),
            "mask": np.ones(count, np.float32),
        }


def _make_trainer(stage: str, changes: dict[str, Any] | None = None) -> Trainer:
    config = make_tiny_config(changes)
    settings = settings_from_config(config)
    size = settings.data.image_size
    variables = _variables(settings.model, size)
    plan = plan_stages(settings.running_stages, EXAMPLES)
    chosen = next(s for s in plan if s.name == stage)
    labels = stage_labels(variables["params"], chosen.settings)
    return Trainer(
        config,
        settings,
        build_model(settings.model, num_classes=NUM_CLASSES, image_size=size),
        chosen,
        labels,
        make_optimizer(chosen, labels),
        variables,
    )


@pytest.fixture(scope="session")
def tiny_config():
    """Factory of tiny configs: ``tiny_config({"dotted.key": value})``."""
    return make_tiny_config


@pytest.fixture(scope="session")
def make_trainer():
    """Factory of trainers: ``make_trainer(stage name, {"dotted.key": value})``."""
    return _make_trainer


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def run_env() -> dict[str, str]:
    """The environment of a program that a test starts: one CPU device, as for a user."""
    env = dict(os.environ, XLA_FLAGS=f"{PLAIN_XLA_FLAGS} {FAST_COMPILE}".strip())
    del env["PJRT_NPROC"]
    return env


@pytest.fixture(scope="session")
def cifar10() -> None:
    """CIFAR-10 is in the cache; the first run of all fetches it."""
    data.open_source("cifar10", "test")


def paths_of(tree) -> dict[str, np.ndarray]:
    """{'part/module/kernel': array}."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


@pytest.fixture(scope="session")
def flat():
    """Function that flattens a tree of arrays to {'part/module/kernel': array}."""
    return paths_of


@pytest.fixture(scope="session")
def as_described(root):
    """Function: fails where names that a program wrote differ from tables of files.md.

    Its arguments are the names, and the headings of the tables. A row with something in its column
    "when" may be missing from the names; no name may be missing from the rows.
    """
    tables: dict[str, dict[str, bool]] = {}
    text = (root / "docs" / "reference" / "files.md").read_text()
    for section in re.split(r"^#+ ", text, flags=re.M)[1:]:
        heading, _, body = section.partition("\n")
        for row in re.findall(r"^\| (`.+)\|$", body, re.M):
            named, _, *when = row.split(" | ")
            always = bool(when) and not when[0].strip()
            names = re.findall(r"`([^`]+)`", named)
            tables.setdefault(heading, {}).update(dict.fromkeys(names, always))

    def check(written, *headings):
        rows = {name: always for heading in headings for name, always in tables[heading].items()}
        assert set(written) - rows.keys() == set(), headings
        assert {name for name, always in rows.items() if always} - set(written) == set(), headings

    return check
