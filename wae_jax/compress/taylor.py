"""Filter pruning by a Taylor expansion of the loss (Molchanov et al., ICLR 2017)."""

import math
from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from wae_jax.compress.budget import Costs, check_fraction
from wae_jax.compress.network import Network, groups, keep_filters, norm_paths
from wae_jax.data import Batch
from wae_jax.errors import UserError
from wae_jax.models.classifier import scores_of
from wae_jax.runtime.console import progress_bar

LEAST_KEPT = 0.1  # of a conv's filters


def taylor(
    network: Network,
    batches: Sequence[Batch],
    macs: float,
    *,
    rounds: int = 10,
    cost_weight: float = 0.0,
    least_kept: float = LEAST_KEPT,
    streams: bool = False,
    between: Callable[[Network], Network] | None = None,
) -> Network:
    """Removes the filters of all convs that matter least to the loss, in rounds.

    Args:
        network: without low-rank layers.
        batches: images and labels that the network was trained on.
        macs: fraction of the network's MACs that may stay.
        rounds: each takes an equal share of the MACs away, by criteria computed anew.
        cost_weight: of what a filter costs, over the dearest one, against its criterion.
        least_kept: fraction of each conv's filters that stay in any case, and one.
        streams: whether those of a ResNet's residual streams go too, from all convs that write to
            one at once; else only those within blocks.
        between: called after each round but the last, for example to fine-tune.

    Raises:
        UserError: the budget cannot be met.
    """
    check_fraction(macs)
    costs = Costs(network, streams=streams)
    floors = {conv: max(1, math.ceil(least_kept * n)) for conv, n in costs.widths.items()}
    total, end = costs.total, macs * costs.total
    if costs.of(floors) > end:
        raise UserError(
            f"taylor cannot bring this network below {costs.of(floors) / total:.3f} of its MACs, "
            f"and {macs:g} are asked for"
        )
    if macs == 1:
        return network
    with progress_bar("removing filters", rounds, unit="round") as bar:
        for number in range(1, rounds + 1):
            goal = total - (total - end) * number / rounds
            criteria = ranked(network, batches, cost_weight=cost_weight, streams=streams)
            costs = Costs(network, streams=streams)
            network = keep_filters(network, select(criteria, costs, goal, floors))
            if between is not None and number < rounds:
                network = between(network)
            bar.update()
    return network


def ranked(
    network: Network, batches: Sequence[Batch], *, cost_weight: float = 0.0, streams: bool = False
) -> dict[str, np.ndarray]:
    """How much each filter matters, (C,) by group: the criterion over its norm in the group."""
    criteria = taylor_criteria(network, batches, streams=streams)
    criteria = {conv: c / max(np.linalg.norm(c), 1e-30) for conv, c in criteria.items()}
    if cost_weight:
        costs = Costs(network, streams=streams)
        cost = {conv: costs.of_a_filter(conv) for conv in criteria}
        for conv in criteria:
            criteria[conv] = criteria[conv] - cost_weight * cost[conv] / max(cost.values())
    return criteria


def select(
    criteria: Mapping[str, np.ndarray], costs: Costs, goal: float, floors: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Numbers of the filters that stay, by conv, when the least are removed until ``goal`` MACs."""
    order = sorted(
        (float(value), conv, number)
        for conv, values in criteria.items()
        for number, value in enumerate(values)
    )
    kept = {conv: set(range(len(values))) for conv, values in criteria.items()}
    widths = dict(costs.widths)
    for _, conv, number in order:
        if costs.of(widths) <= goal:
            break
        if widths[conv] > floors[conv]:
            kept[conv].remove(number)
            widths[conv] -= 1
    return {
        conv: np.array(sorted(numbers))
        for conv, numbers in kept.items()
        if len(numbers) < len(criteria[conv])
    }


def taylor_criteria(
    network: Network, batches: Sequence[Batch], *, streams: bool = False
) -> dict[str, np.ndarray]:
    """Mean over images of |mean over positions of activation x gradient|, (C,) by group.

    The gradient is that of the loss, the activation that after the ReLU. A factor in front of the
    ReLU has that sum as its gradient, as ReLU(g x) = g ReLU(x). All convs that write to a residual
    stream have one factor.
    """
    model, size = network.model, network.image_size
    writers, shapes = {}, {}  # paths of the modules that make channels, before the ReLU
    for name, group in groups(model, streams=streams).items():
        for conv in group.writers:
            last = conv.replace("conv", "norm") if norm_paths(network, conv) else conv
            writers["backbone", *last.split("/")] = name
            shapes[name] = network.layers[conv].writes

    @jax.jit
    def criteria(variables, images, labels):
        def loss(factors):
            inside = set()  # a subclass's __call__ comes by once more for its parent's

            def multiply(call, args, kwargs, context):
                path = context.module.path
                if path not in writers or context.method_name != "__call__" or path in inside:
                    return call(*args, **kwargs)
                inside.add(path)
                y = call(*args, **kwargs)
                inside.remove(path)
                return y * factors[writers[path]][:, None, None, :].astype(y.dtype)

            with nn.intercept_methods(multiply):
                scores = scores_of(model, variables, images)
            chosen = jnp.take_along_axis(jax.nn.log_softmax(scores), labels[:, None], 1)
            return -chosen.sum()

        ones = {conv: jnp.ones((len(images), shape[3])) for conv, shape in shapes.items()}
        sums = jax.grad(loss)(ones)
        return {
            conv: jnp.abs(x / (shapes[conv][1] * shapes[conv][2])).sum(0)
            for conv, x in sums.items()
        }

    totals: dict[str, np.ndarray] = {}
    count = 0
    for batch in batches:
        images = np.asarray(batch["image"])
        assert images.shape[1] == size
        for conv, x in criteria(network.variables, images, np.asarray(batch["label"])).items():
            totals[conv] = totals.get(conv, 0.0) + np.asarray(x, np.float64)
        count += len(images)
    return {conv: x / count for conv, x in totals.items()}
