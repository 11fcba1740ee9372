"""What pruned networks cost, without building them."""

from collections.abc import Callable, Mapping

from wae_jax.compress.network import HEADS, Network, groups, head_parts
from wae_jax.errors import UserError


class Costs:
    """MACs of an image as a function of the numbers of filters.

    Attributes:
        total: of the network as it is.
        groups: what can be pruned, by name.
        widths: filters of each.
    """

    def __init__(self, network: Network, *, streams: bool = False):
        self.layers, self.groups = network.layers, groups(network.model, streams=streams)
        self.total = network.macs.total
        self.widths = {n: self.layers[g.writers[0]].writes[3] for n, g in self.groups.items()}
        self._read = {reader: n for n, g in self.groups.items() for reader in g.readers}
        self._written = {writer: n for n, g in self.groups.items() for writer in g.writers}
        # Of the heads, for each channel.
        self._head = head_parts(network)[:, 0].size if HEADS in self._read else 0
        self._fixed = self.total - self._pruned(self.widths)

    def _pruned(self, widths: Mapping[str, int]) -> int:
        macs = self._head * widths[self._read[HEADS]] if self._head else 0
        for name, layer in self.layers.items():
            fan_in = widths[self._read[name]] if name in self._read else layer.reads[3]
            out = widths[self._written[name]] if name in self._written else layer.writes[3]
            macs += layer.taps * fan_in * out
        return macs

    def of(self, widths: Mapping[str, int]) -> int:
        """MACs of the whole network with these numbers of filters; the rest as it is."""
        return self._fixed + self._pruned({**self.widths, **widths})

    def of_a_filter(self, group: str) -> int:
        """MACs that end with one filter less in a group."""
        return self.total - self.of({group: self.widths[group] - 1})


def check_fraction(macs: float) -> None:
    """Raises UserError where a fraction of MACs is none."""
    if not 0 < macs <= 1:
        raise UserError(f"the MACs to keep are {macs:g}; they must be above 0 and at most 1")


def largest_below(cost: Callable[[float], int], most: int, what: str) -> float:
    """The largest of 0..1 with a cost of at most ``most``, by bisection; cost rises with it.

    Raises:
        UserError: even 0 costs more.
    """
    low, high = 0.0, 1.0
    if cost(high) <= most:
        return high
    if cost(low) > most:
        raise UserError(
            f"{what} cannot bring this network below {cost(low) / 1e6:.2f} M MACs, and "
            f"{most / 1e6:.2f} M are asked for"
        )
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) <= most else (low, middle)
    return low
