"""Arrays are moved as little as possible, and mean the same wherever they lie."""

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from jax import export

from wae_jax.export import trace
from wae_jax.export.graph import to_model
from wae_jax.export.simplify import simplify
from wae_jax.models.layers import depth_to_space, space_to_depth
from wae_jax.models.resize import area_resize, halve

W = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
FUNCTIONS = {
    "pixels in a row": lambda x: x.reshape(-1, 3) @ W,
    "a row for each image": lambda x: jnp.concatenate([x, x * 2], 1).reshape(x.shape[0], -1),
    "flattened twice": lambda x: (
        jnp.concatenate([x.reshape(x.shape[0], -1), x[:, ::2].reshape(x.shape[0], -1)], -1)
        @ np.linspace(-1, 1, 2 * 288 - 144, dtype=np.float32)[:, None]
    ),
    "channels and rows exchanged": lambda x: x.transpose(0, 3, 2, 1)[..., 1:7] + 1,
    "blocks to channels": lambda x: space_to_depth(x, 4) * 2,
    "and back": lambda x: depth_to_space(space_to_depth(x, 4) * 2, 2),
    "mirrored": lambda x: jnp.pad(x, ((0, 0), (3, 3), (2, 1), (0, 0)), mode="reflect"),
    "edges": lambda x: jnp.pad(x, ((0, 0), (3, 0), (0, 1), (0, 0)), mode="edge"),
    "halved": lambda x: halve(x),
    "odd sides halved": lambda x: halve(x[:, 1:, :7]),
    "resized": lambda x: area_resize(x, (6, 10)),
    "turned": lambda x: x[..., ::-1] - x[:, ::-1],
    "picked": lambda x: x[:, jnp.array([0, 3, 1])] + x[:, 2][:, None, :],
    "broadcast": lambda x: x.mean((1, 2))[:, None, None] * jnp.arange(3.0) - x,
    "spread": lambda x: jnp.broadcast_to(x.sum(-1, keepdims=True), x.shape).max((1, 3)),
    "chosen": lambda x: jnp.where(x > 9, jnp.square(x), jnp.clip(-x, -5, 5) ** 3),
    "products of two": lambda x: jnp.einsum("bhwc,bhvc->bwv", x, x / 9),
    "a constant's product": lambda x: jnp.einsum("cd,bhwc->bhdw", W, x),
    "cut up in two ways": lambda x: (
        x[:, :, :6].reshape(x.shape[0], -1, 3)
        + x[:, :9].reshape(x.shape[0], -1, 3)
        + jnp.concatenate([x[:, :4, :3], x[:, :2, :6].reshape(-1, 4, 3, 3)], 1).sum(
            (1, 2, 3), keepdims=True
        )[..., 0]
    ),
    "error functions": lambda x: (
        jax.nn.gelu(x, approximate=False) + x.mean((1, 2, 3), keepdims=True) * jax.nn.relu6(x)
    ),
    "split": lambda x: jnp.stack(jnp.split(x, 2, axis=2), axis=2).sum(1),
    "cut and padded": lambda x: jax.lax.pad(x, 7.0, [(0, 0, 0), (-1, 2, 0), (0, -3, 0), (0, 0, 0)]),
    "functions": lambda x: jnp.log1p(x) + jnp.expm1(-x) + jax.lax.rsqrt(x + 1) + jnp.tanh(x),
}


@pytest.mark.parametrize("batch", [2, None])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_arrays_mean_the_same(name, batch):
    images = np.random.default_rng(1).integers(0, 20, (2, 12, 8, 3), np.uint8)

    def function(x):
        return FUNCTIONS[name](x.astype(jnp.float32))

    expected = np.asarray(function(images))
    (free,) = export.symbolic_shape("batch")
    graph, out = trace.trace_images(function, (batch or free, 12, 8, 3))
    (last,) = simplify(graph, [out.name])
    sides = [side if isinstance(side, int) else None for side in out.shape]
    model = to_model(
        graph,
        [("images", np.uint8, (batch or "batch", 12, 8, 3))],
        [(last, np.float32, sides)],
        {},
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {"images": images})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_what_costs_nothing(operators, tmp_path):
    def function(x):
        y = x.astype(jnp.float32).transpose(0, 2, 1, 3)
        y = (y.reshape(-1, 3) @ W).reshape(*y.shape[:3], 5)
        return (y + jnp.arange(5.0)).transpose(0, 2, 1, 3).sum((1, 2)) / 96

    graph, out = trace.trace_images(function, (2, 12, 8, 3))
    simplify(graph, [out.name])
    assert [node.op for node in graph.nodes] == ["Transpose", "Cast", "Conv", "ReduceMean"]
