"""Compiled programs are kept for the next start, where the user does not say otherwise."""

import json
import os
import subprocess
import sys

import pytest

from wae_jax.runtime import cache, machine

PROGRAM = """
import json, sys, wae_jax
wae_jax.configure()
import jax, jax.numpy as jnp
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
def step(w, x):
    return jax.grad(lambda w: jnp.square(jnp.tanh(x @ w)).sum())(w)
w = jax.jit(step, donate_argnums=0)(jnp.linspace(0, 1, 64).reshape(8, 8), jnp.ones((4, 8)))
hits = [name for name in hits if name.endswith("compilation_cache/cache_hits")]
print(json.dumps([len(hits), w.tolist(), jax.config.jax_compilation_cache_dir]))
"""


@pytest.fixture
def start(root, run_env, tmp_path):
    """Starts the program: a function of environment variables; the process."""

    def start(*, warnings="error", **changes):
        env = run_env | {"PYTHONPATH": str(root), "WAE_JAX_CACHE": str(tmp_path / "cache")}
        env.pop(cache.COMPILED, None)  # the tests' own folder
        env |= {cache.MIN_COMPILE_TIME: "0", cache.SWITCH: "1"} | changes
        return subprocess.Popen(
            [sys.executable, "-W", warnings, "-c", PROGRAM],
            cwd=tmp_path,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def finish(process):
    """(hits, result, folder)."""
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    return json.loads(out)


def test_a_second_start_compiles_nothing_again(start, tmp_path):
    together = [finish(process) for process in [start(), start()]]
    folder = tmp_path / "cache" / "compiled"
    (kind,) = folder.iterdir()
    kept = sorted(kind.iterdir())
    assert kept and kind.name.startswith(machine.cpu_kind())
    hits, result, used = finish(start())
    assert hits == len(kept) and used == str(kind)
    assert sorted(kind.iterdir()) == kept
    assert all(other[1] == result for other in together)
    # Other flags, other programs.
    flags = f"{os.environ['XLA_FLAGS']} --xla_cpu_enable_fast_min_max=true"
    assert finish(start(XLA_FLAGS=flags))[0] == 0


def test_an_entry_cut_short_is_compiled_again(start, tmp_path):
    first = finish(start())
    for entry in tmp_path.glob("cache/compiled/*/*"):
        entry.write_bytes(entry.read_bytes()[:100])
    process = start(warnings="default")
    out, err = process.communicate(timeout=120)
    assert json.loads(out)[:2] == [0, first[1]]
    assert "Error reading persistent compilation cache entry" in err


def test_the_user_may_say_no(start, tmp_path):
    assert finish(start(WAE_JAX_COMPILATION_CACHE="0"))[::2] == [0, None]
    assert not (tmp_path / "cache").exists()


def test_the_user_may_name_a_folder(start, tmp_path):
    own = str(tmp_path / "own")
    assert finish(start(JAX_COMPILATION_CACHE_DIR=own))[2] == own
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_is_done_without(start, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert finish(start())[::2] == [0, None]


@pytest.mark.parametrize(
    "text", ["model name\t: Some CPU (R) @ 3 GHz\nflags\t: avx2\n", "Features\t: neon\n", ""]
)
def test_kinds_of_cpu(text, tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "_CPU_INFO", info)
    info.write_text(text)
    first = machine.cpu_kind()
    assert first == machine.cpu_kind()
    assert first.startswith("some-cpu-r-3-ghz-") == ("Some CPU" in text)
    info.write_text(text.replace("avx2", "avx2 avx512f").replace("neon", "sve") or "flags\t: x\n")
    assert machine.cpu_kind() != first
