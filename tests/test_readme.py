"""What the README shows works as it stands there."""

import re
import subprocess
import sys

import pytest

import wae_jax


@pytest.mark.slow
def test_own_network_example_trains_and_is_short(root, run_env, cifar10, tmp_path):
    readme = (root / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.S)
    assert len([line for line in example.splitlines() if line.strip()]) <= 17
    # It evaluates 10,000 images three times: here optimising pays.
    flags = " ".join(f for f in run_env["XLA_FLAGS"].split() if "optimization_level" not in f)
    script = tmp_path / "my_cnn.py"
    script.write_text(example)
    env = run_env | {"PYTHONPATH": str(root), "XLA_FLAGS": flags}
    # In an empty folder: the example writes to runs/ beside it.
    run = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=env,
        timeout=240,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "'eval_count': 10000" in run.stdout
    # A network whose file can be imported is rebuilt from its checkpoint alone.
    check = (
        "import wae_jax, jax.numpy as jnp, __main__, my_cnn\n"
        "__main__.MyCNN = my_cnn.MyCNN\n"
        "model, variables = wae_jax.load('runs/my_cnn')\n"
        "print(model.apply(variables, jnp.zeros((2, 32, 32, 3))).scores.shape)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", check],
        cwd=tmp_path,
        env=env,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert loaded.stdout.strip() == "(2, 10)", loaded.stderr


def test_public_names():
    for name in wae_jax.__all__:
        assert getattr(wae_jax, name).__doc__
