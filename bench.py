"""``wae-jax bench`` for those who work in this folder; see ``python bench.py --help``."""

import sys

from wae_jax.commands.bench import main

if __name__ == "__main__":
    main(sys.argv[1:])
