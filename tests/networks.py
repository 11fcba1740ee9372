"""The networks that compile soonest, for tests of what happens around a network.

Changes to the tiny config, as ``tiny_config(ONE_BRANCH | {...})``, and ResNets of few blocks.
"""

from wae_jax.models import backbones

_BACKBONE = {"model.backbone.plan": "4 M", "model.backbone.batch_norm": False}
# Full resolution in its one stage: a fifth of what the tiny WAE takes.
ONE_BRANCH = {"model.frontend.name": "identity", "run_stages": ("end_to_end",), **_BACKBONE}
# WAE in its three stages: a third.
TWO_BRANCHES = {"model.frontend.normalise": False, **_BACKBONE}

# Every kind of layer of the registered ResNets, each about once.
_SHORT = {"basic": (1, 1, 1, 1), "bottleneck": (1, 1, 1, 2)}


def register_short_resnets(monkeypatch) -> None:
    """Makes the backbones "basic" (of 4 blocks) and "bottleneck" (of 5) known."""
    for kind, blocks in _SHORT.items():
        monkeypatch.setitem(backbones.BACKBONES, kind, backbones._resnet(kind, blocks))
