"""``wae-jax train`` for those who work in this folder; see ``python train.py --help``."""

import sys

from wae_jax.commands.train import main

if __name__ == "__main__":
    main(sys.argv[1:])
