"""Speed of the input pipeline that training with a config would use."""

from collections.abc import Sequence

from wae_jax.bench import data_bench
from wae_jax.commands.flags import run_with_flags


def main(argv: Sequence[str]) -> None:
    """Runs the command on its arguments."""
    run_with_flags(data_bench.main, ["wae-jax data-bench", *argv], data_bench.FLAGS)
