"""Files in the runtimes that serve them."""

import time

import jax.numpy as jnp
import numpy as np

from wae_jax.export import formats
from wae_jax.export.runtimes import open_onnxruntime


def test_onnxruntime_lets_go_of_the_cores_after_a_call(tmp_path):
    """Else networks that are timed in turn would take them from each other."""
    path = tmp_path / "net.onnx"
    shape, weights = (8, 32, 32, 3), jnp.ones((3, 512))
    formats.write_function(lambda x: x.astype(jnp.float32).mean((1, 2)) @ weights, shape, path)
    call = open_onnxruntime(path, threads=2).call
    x = np.ones(shape, np.uint8)
    busy = []
    for _ in range(5):
        call(x)
        before = time.process_time()
        time.sleep(0.02)
        busy.append(time.process_time() - before)
    assert np.median(busy) < 0.005
