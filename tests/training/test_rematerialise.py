"""Blocks that are computed again for the gradients: the same step with less memory."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from tests.networks import ONE_BRANCH
from wae_jax.config import ParallelSettings
from wae_jax.errors import UserError
from wae_jax.models import backbones
from wae_jax.models.classifier import rematerialised, variable_shapes
from wae_jax.runtime.devices import Parallel

REMAT = {"stages.end_to_end.rematerialise": True}
VGG = ONE_BRANCH | {
    "stages.end_to_end.batch_size": 64,
    "model.backbone.plan": "8 8 M 16 16 16 16 M 32 32 32",
}
RESNET = {
    "model.frontend.name": "identity",
    "run_stages": ("end_to_end",),
    "model.backbone.name": "blocks",
    "model.backbone.width": 0.125,
    "model.backbone.stem": "small",
    "model.backbone.plan": "",
    "model.backbone.batch_norm": False,
}


class OwnTrunk(nn.Module):
    """A user's backbone."""

    @nn.compact
    def __call__(self, x):
        return nn.Conv(8, (3, 3), name="conv")(x)


def train(trainer):
    """State, metrics and scratch memory of two steps, compiled as a run compiles them."""
    parallel = Parallel(ParallelSettings(devices=1))
    rematerialise = trainer.stage.settings.rematerialise
    step = parallel.compile_train_step(trainer.train_step(), rematerialise=rematerialise)
    state, batch = parallel.put_state(trainer.new_state()), parallel.put_train_batch
    size = step.temporary_bytes(state, batch(trainer.batch(0)))
    for number in range(2):
        state, metrics = step(state, batch(trainer.batch(number)))
    return jax.device_get(state), jax.device_get(metrics), size


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(RESNET, marks=pytest.mark.slow, id="resnet"),
        pytest.param(VGG, marks=pytest.mark.nightly, id="vgg"),
    ],
)
def test_the_same_step_with_less_memory(network, make_trainer, flat, monkeypatch):
    monkeypatch.setitem(backbones.BACKBONES, "blocks", backbones._resnet("basic", (3,)))
    plain, metrics, size = train(make_trainer("end_to_end", network))
    remat, remat_metrics, remat_size = train(make_trainer("end_to_end", network | REMAT))
    found, expected = flat(remat), flat(plain)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    assert remat_metrics["loss"] == pytest.approx(metrics["loss"], rel=1e-6)
    assert remat_size < 0.8 * size


def test_two_branches_have_the_same_variables(make_trainer, flat):
    """Both trunks, and nothing of it in evaluation."""
    trainer = make_trainer("joint", {"stages.joint.rematerialise": True})
    model = rematerialised(trainer.model)
    assert model.backbone.rematerialise and model.light.rematerialise
    size = trainer.settings.data.image_size
    shapes = jax.tree.map(lambda x: x.shape, variable_shapes(model, size))
    assert shapes == jax.tree.map(lambda x: x.shape, variable_shapes(trainer.model, size))
    assert not trainer.model.backbone.rematerialise


def test_a_users_own_trunk_is_refused_by_name(make_trainer):
    own = {"model.backbone.name": f"{__name__}:OwnTrunk", "model.backbone.plan": ""}
    with pytest.raises(UserError, match=r"no blocks of OwnTrunk; use flax's nn\.remat"):
        make_trainer("end_to_end", ONE_BRANCH | own | REMAT).train_step()
