"""What a classifier returns."""

import flax.struct
import jax

from wae_jax.models.frontends.base import SubImages


class Outputs(flax.struct.PyTreeNode):
    """What a classifier returns; parts that do not exist or were not asked for are None.

    Attributes:
        scores: (B, num_classes) float32, the sum of the two below.
        low_scores: from the low branch alone (s_L).
        fused_scores: from both branches' features (s_C).
        scores_without_high: the scores where the network reads zeros in place of I_H.
        low_features: (B, C) float32, the backbone's features averaged over positions.
        sub_images: the front end's sub-images before normalisation.
        images: the normalised input (B, H, W, 3).
        reconstruction: the decoder's, in the units of ``images``.
    """

    scores: jax.Array | None = None
    low_scores: jax.Array | None = None
    fused_scores: jax.Array | None = None
    scores_without_high: jax.Array | None = None
    low_features: jax.Array | None = None
    sub_images: SubImages | None = None
    images: jax.Array | None = None
    reconstruction: jax.Array | None = None
