"""Uses checkpoints in every way that there is, on as many devices as this process has.

``python travel.py FOLDER SCRATCH`` uses the two runs that ``save(FOLDER)`` trained, and prints what
came out as one line of JSON.
"""

import json
import logging
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

if __name__ == "__main__":
    from wae_jax.runtime import process

    process.configure()

import jax  # noqa: E402
import numpy as np  # noqa: E402
import PIL.Image  # noqa: E402

import wae_jax  # noqa: E402
from configs import quickstart  # noqa: E402
from wae_jax.checkpoints import folders  # noqa: E402
from wae_jax.config import settings_from_config  # noqa: E402
from wae_jax.evaluation.evaluator import evaluate_checkpoint  # noqa: E402
from wae_jax.evaluation.predict import predict  # noqa: E402
from wae_jax.evaluation.predictor import of_checkpoint  # noqa: E402
from wae_jax.study import study  # noqa: E402
from wae_jax.study.sub_images import draw_sub_images  # noqa: E402
from wae_jax.training.loop import train  # noqa: E402

STEPS = 3
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
STILL = {"stages.end_to_end.steps": 1, "stages.end_to_end.learning_rate": 0.0}
TWO = "wavelet-haar"  # the network with two branches that is compiled soonest


def get_config(variant: str, changes=None):
    """Three steps of a tiny network, with an average and an optimiser that remembers."""
    config = quickstart.get_config(variant)
    config.update_from_flattened_dict(
        {
            "data.train_split": "train[:64]",
            "data.eval_split": "test[:64]",
            "data.eval_batch_size": 64,
            "model.backbone.plan": "4 M",
            "stages.end_to_end.steps": STEPS,
            "stages.end_to_end.batch_size": 16,
            "stages.end_to_end.weight_decay": 0.0,
            "ema_decay": 0.5,
            "log_every": 1,
            "checkpoint_every": 1,
            "keep_checkpoints": STEPS,
        }
        | (changes or {})
    )
    return config


def save(folder: Path) -> dict:
    """Trains a network with one branch and one with two; the figures of the latter."""
    train(get_config("full"), str(folder / "full-0"))
    return train(get_config(TWO), str(folder / f"{TWO}-0"))


def resume(workdir: Path, step: int) -> dict:
    """Cuts a run back to a step and starts it again; the figures that it comes to."""
    for later in range(step + 1, STEPS + 1):
        shutil.rmtree(workdir / "checkpoints" / str(later))
    assert folders.find(str(workdir)).name == str(step)
    return train(get_config(TWO), str(workdir))


def scores(workdir: Path):
    model, variables = wae_jax.load(str(workdir))
    devices = {device for x in jax.tree.leaves(variables) for device in x.devices()}
    assert devices == {jax.local_devices()[0]}
    return jax.jit(model.apply, static_argnames="train")(variables, IMAGES, train=False).scores


def predicted(workdir: Path, scratch: Path):
    PIL.Image.fromarray(IMAGES[0]).save(scratch / "image.png")
    (prediction,) = predict(of_checkpoint(str(workdir)), [str(scratch / "image.png")])
    return [probability for _, _, probability in prediction.classes]


def drawn(workdir: Path, scratch: Path):
    draw_sub_images(folders.find(str(workdir)), str(scratch / "drawn.png"), count=2)
    return np.asarray(PIL.Image.open(scratch / "drawn.png").convert("L"), float)[::40, ::40]


def figures(run) -> list[float]:
    return [run[name] for name in ("top1", "top5", "top1_low", "high_energy", "eval_count")]


def evaluated(workdir: Path) -> list[float]:
    return figures(evaluate_checkpoint(str(workdir)))


def first_loss(workdir: Path) -> float:
    return json.loads((workdir / "metrics.jsonl").read_text().splitlines()[0])["loss"]


def use(folder: Path, scratch: Path) -> dict[str, list[float]]:
    """Numbers that say what each way made of the checkpoints in ``folder``, which stay."""
    full, two = folder / "full-0", folder / f"{TWO}-0"
    result = {
        "load": scores(two),
        "evaluate": evaluated(two),
        "predict": predicted(two, scratch),
        "visualize": drawn(two, scratch),
    }

    shutil.copytree(two, scratch / f"{TWO}-0")
    (run,) = study.run_study({TWO: settings_from_config(get_config(TWO))}, [0], str(scratch))
    result["study"] = [run.top1, run.macs]

    result["resume"] = figures(resume(Path(shutil.copytree(two, scratch / "resumed")), 1))
    result["resumed"] = scores(scratch / "resumed")

    # Where nothing is learned, the loss tells what the run began from, and who teaches it.
    taught = {"restore": str(two), "distill.teacher": str(full), "distill.weight": 0.9}
    train(get_config(TWO, STILL | taught), str(scratch / "taught"))
    result["restore, teacher"] = [first_loss(scratch / "taught"), *scores(scratch / "taught")]
    begins = {"init.pretrained": str(full), "init.light": "slim"}
    train(get_config(TWO, STILL | begins), str(scratch / "begins"))
    result["init.pretrained"] = [first_loss(scratch / "begins")]
    return {way: np.hstack(values).ravel().tolist() for way, values in result.items()}


if __name__ == "__main__":
    for noisy in ("absl", "orbax", "jax"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    print(json.dumps(use(Path(sys.argv[1]), Path(sys.argv[2]))))
