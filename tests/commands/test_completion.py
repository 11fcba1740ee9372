"""Shell completion, as a shell asks for it."""

import os
import subprocess
import sys

import pytest

from wae_jax import __main__ as program
from wae_jax.commands.completion import config_keys
from wae_jax.config import default_config


@pytest.fixture
def complete(root, run_env, tmp_path):
    """Function: what is offered at the end of a line."""

    def complete(line: str) -> set[str]:
        out = tmp_path / "offered"
        out.unlink(missing_ok=True)
        asked = {
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_SHELL": "bash",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(out),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "COMP_TYPE": "9",
        }
        done = subprocess.run(
            [sys.executable, "-m", "wae_jax"],
            cwd=root,
            env=run_env | asked,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return {word.strip() for word in out.read_text().split("\n")} if out.exists() else set()

    return complete


@pytest.mark.parametrize(
    "line, some",
    [
        ("wae-jax ", set(program.COMMANDS)),
        ("wae-jax pre", {"predict", "prepare"}),
        ("wae-jax predict --", {"--checkpoint", "--input", "--json", "--top"}),
        ("wae-jax export --format ", {"onnx", "stablehlo"}),
        ("wae-jax prepare ", {"imagenet2012", "folder"}),
        ("wae-jax prepare folder --", {"--in", "--name", "--data_dir"}),
        ("wae-jax train --", {"--config", "--workdir"}),
        ("wae-jax bench --dev", {"--devices"}),
        ("wae-jax bench --devices=", {"--devices=cpu", "--devices=gpu"}),
        ("wae-jax train --config.data.exif", {"--config.data.exif_orientation"}),
        ("wae-jax train --config.stages.joint.ep", {"--config.stages.joint.epochs"}),
        ("wae-jax study --config.stages.joint.ep", {"--config.stages.joint.epochs"}),
        ("wae-jax train --config=configs/vgg16.py --config.model.fusion ", {"early", "late"}),
        ("wae-jax train --config.model.fusion=e", {"--config.model.fusion=early"}),
    ],
)
def test_it_offers(line, some, complete):
    offered = complete(line)
    assert some <= offered
    begun = line.rpartition(" ")[2]
    assert all(word.startswith(begun) for word in offered)


def test_of_a_command_that_does_not_exist(complete):
    assert complete("wae-jax nonsense --") == set()


def test_every_key_of_the_config_is_offered():
    def keys(config, prefix=""):
        for name, value in config.items():
            if hasattr(value, "items") and len(value):
                yield from keys(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    offered = {key for key, _ in config_keys()}
    assert set(keys(default_config())) - offered <= {"model.backbone.kwargs", "model.light.kwargs"}
    assert {"data.max_pixels", "stages.end_to_end.steps", "seed"} <= offered


def test_in_bash(root, run_env, tmp_path):
    """With the line that the docs say to put into ~/.bashrc."""
    program = tmp_path / "wae-jax"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m wae_jax "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(register-python-argcomplete wae-jax)"\n'
        "COMP_LINE='wae-jax pre'; COMP_POINT=11; COMP_TYPE=9\n"
        "COMP_WORDS=(wae-jax pre); COMP_CWORD=1\n"
        "_python_argcomplete wae-jax pre wae-jax\n"
        "echo ${COMPREPLY[@]}\n"
    )
    path = os.pathsep.join([str(tmp_path), os.path.dirname(sys.executable), run_env["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script],
        env=run_env | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "predict prepare\n", done.stderr
