"""The networks that compile soonest, for tests of what happens around a network.

Changes to the tiny config, as ``tiny_config(ONE_BRANCH | {...})``.
"""

_BACKBONE = {"model.backbone.plan": "4 M", "model.backbone.batch_norm": False}
# Full resolution in its one stage: a fifth of what the tiny WAE takes.
ONE_BRANCH = {"model.frontend.name": "identity", "run_stages": ("end_to_end",), **_BACKBONE}
# WAE in its three stages: a third.
TWO_BRANCHES = {"model.frontend.normalise": False, **_BACKBONE}
