import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from jax.sharding import PartitionSpec

from wae_jax.bench.macs import count_macs, xla_flops

CONV, DOT = "conv_general_dilated", "dot_general"
SQUARE = jax.ShapeDtypeStruct((4, 4), jnp.float32)
SQUARE_MACS = 4 * 4 * 4


class Vgg16(nn.Module):
    @nn.compact
    def __call__(self, x):
        for stage, (width, depth) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]):
            for i in range(depth):
                x = nn.relu(nn.Conv(width, (3, 3), name=f"conv{stage + 1}_{i + 1}")(x))
            x = nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape(len(x), -1)
        for i, width in enumerate((4096, 4096, 1000)):
            x = nn.Dense(width, name=f"fc{i + 6}")(x)
        return x


class Trunk(nn.Module):
    def setup(self):
        self.stem = nn.Conv(4, (3, 3))

    def analyze(self, x):
        return self.stem(x)


class TwoPart(nn.Module):
    def setup(self):
        self.trunk = Trunk()
        self.head = nn.remat(nn.Dense)(5)

    def __call__(self, x):
        return self.head(jax.nn.relu(self.trunk.analyze(x)).mean((1, 2))) @ jnp.ones((5, 2))


def struct(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def module_macs(module, x):
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    return count_macs(module.apply, variables, x)


def test_vgg16_has_the_published_count():
    macs = module_macs(Vgg16(), struct(1, 224, 224, 3))
    assert macs.by_primitive == {CONV: 15_346_630_656, DOT: 123_633_664}
    assert macs.total == 15_470_264_320
    assert macs.at_level(1)["conv1_1"] == 224 * 224 * 9 * 3 * 64
    assert macs.at_level(0) == {"Vgg16": macs.total}
    assert module_macs(Vgg16(), struct(8, 224, 224, 3)).total == 8 * macs.total


def test_scopes_name_the_parts_of_a_module():
    macs = module_macs(TwoPart(), struct(1, 8, 8, 3))
    assert macs.by_scope == {
        "TwoPart/trunk.analyze/stem": 8 * 8 * 9 * 3 * 4,
        "TwoPart/head": 4 * 5,
        "TwoPart": 5 * 2,
    }
    assert macs.at_level(1) == {"trunk": 6912, "head": 20, "TwoPart": 10}


def test_scopes_reach_into_nested_functions():
    @jax.jit
    def inner(x):
        with jax.named_scope("inner"):
            return x @ x

    with_scope = jax.named_scope("outer")(inner)
    macs = count_macs(lambda x: with_scope(x) @ x, SQUARE)
    assert macs.by_scope == {"outer/inner": SQUARE_MACS, "": SQUARE_MACS}


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_conv_counts_every_tap_of_every_output(groups, stride, dilation):
    module = nn.Conv(
        8, (3, 5), stride, "SAME", kernel_dilation=dilation, feature_group_count=groups
    )
    macs = module_macs(module, struct(2, 9, 7, 4))
    positions = -(-9 // stride) * -(-7 // stride)
    assert macs.total == 2 * positions * 15 * (4 // groups) * 8


@pytest.mark.parametrize("kernel, taps", [(2, 1), (3, 9 / 4), (4, 4)])
def test_transposed_conv_leaves_out_inserted_zeros(kernel, taps):
    macs = module_macs(nn.ConvTranspose(6, (kernel, kernel), (2, 2)), struct(1, 5, 5, 4))
    assert macs.total == 10 * 10 * taps * 4 * 6


@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize("stride, lhs_dilation, rhs_dilation", [(1, 2, 1), (1, 3, 2), (2, 3, 1)])
def test_dilated_conv_agrees_with_a_sum_of_ones(size, stride, lhs_dilation, rhs_dilation):
    def conv(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, [stride], [(0, 0)], lhs_dilation=[lhs_dilation], rhs_dilation=[rhs_dilation]
        )

    x, kernel = jnp.ones((2, 3, size)), jnp.ones((4, 3, 3))
    assert count_macs(conv, x, kernel).total == int(conv(x, kernel).sum())


def test_gradient_of_a_strided_conv_costs_twice_the_conv():
    def loss(kernel, x):
        return lax.conv_general_dilated(x, kernel, (2, 2), "VALID").sum()

    kernel, x = struct(8, 4, 2, 2), struct(1, 4, 8, 8)
    forward = count_macs(loss, kernel, x).total
    # The gradients reuse nothing of the forward pass of a linear function.
    assert count_macs(jax.grad(loss, (0, 1)), kernel, x).total == 2 * forward


def test_batched_dot():
    macs = count_macs(
        lambda a, b: jnp.einsum("bhij,bhjk->bhik", a, b), struct(2, 3, 4, 5), struct(2, 3, 5, 7)
    )
    assert macs.by_primitive == {DOT: 2 * 3 * 4 * 5 * 7}


custom_jvp = jax.custom_jvp(lambda x: x @ x)
custom_jvp.defjvps(lambda tangent, out, x: tangent @ x)
custom_vjp = jax.custom_vjp(lambda x: x @ x)
custom_vjp.defvjp(lambda x: (x @ x, x), lambda x, cotangent: (cotangent @ x,))


NESTED = {
    "jit": (jax.jit(lambda x: x @ x), 1),
    "checkpoint": (jax.checkpoint(lambda x: x @ x), 1),
    "custom_jvp": (custom_jvp, 1),
    "custom_vjp": (custom_vjp, 1),
    "relu": (lambda x: jax.nn.relu(x @ x) @ x, 2),
    "scan": (lambda x: lax.scan(lambda c, _: (c @ c, None), x, length=5)[0], 5),
    "fori_loop": (lambda x: lax.fori_loop(0, 3, lambda _, c: c @ c, x), 3),
    "cond": (lambda x: lax.cond(x[0, 0] > 0, lambda c: c @ c @ c, lambda c: c @ c, x), 2),
    "while": (lambda x: lax.while_loop(lambda c: c[0, 0] > 0, lambda c: c - 1, x) @ x, 1),
}


@pytest.mark.parametrize("wrapped, times", NESTED.values(), ids=NESTED)
def test_nested_functions(wrapped, times):
    assert count_macs(wrapped, SQUARE).by_primitive == {DOT: times * SQUARE_MACS}


def test_shard_map_counts_all_devices():
    mesh = jax.sharding.AbstractMesh((4, 2), ("data", "model"))
    spec = PartitionSpec("data")
    per_row = jax.shard_map(
        lambda x, w: x @ w, mesh=mesh, in_specs=(spec, PartitionSpec()), out_specs=spec,
        axis_names={"data"},
    )  # fmt: skip
    assert count_macs(per_row, struct(8, 4), SQUARE).total == 8 * 4 * 4


def test_results_that_are_not_returned_do_not_count():
    both = jax.jit(lambda x: (x @ x, x @ x @ x))
    assert count_macs(lambda x: both(x)[0], SQUARE).total == SQUARE_MACS


def test_unknown_repetition_is_an_error():
    with pytest.raises(ValueError, match="'while'"):
        count_macs(lambda x: lax.while_loop(lambda c: c[0, 0] > 0, lambda c: c @ c, x), SQUARE)


def test_exported_functions_are_an_error():
    exported = jax.export.export(jax.jit(lambda x: x @ x))(SQUARE)
    with pytest.raises(ValueError, match="'call_exported'"):
        count_macs(exported.call, SQUARE)


def test_function_without_macs():
    assert count_macs(lambda x: x + 1, SQUARE) == (0, {}, {})


def test_xla_flops_are_twice_the_macs_without_padding():
    def conv(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1, 1), "VALID")

    x, kernel = struct(1, 8, 16, 16), struct(8, 8, 3, 3)
    flops = xla_flops(jax.jit(conv).lower(x, kernel).compile())
    np.testing.assert_allclose(flops, 2 * count_macs(conv, x, kernel).total, rtol=0.01)


@pytest.mark.parametrize(
    "analysis, flops", [([{"flops": 3.0}], 3.0), ({"flops": 3.0}, 3.0), ([], None), (None, None)]
)
def test_xla_flops_reads_every_form(analysis, flops):
    class Compiled:
        def cost_analysis(self):
            return analysis

    assert xla_flops(Compiled()) == flops
