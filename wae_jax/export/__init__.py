"""Files of trained classifiers for other programs: ONNX, and StableHLO through ``jax.export``.

``wae_jax.export.load(path)`` runs a StableHLO file; neither flax nor this package's
models are needed there.
"""

from wae_jax.export.stablehlo import load

__all__ = ["load"]
