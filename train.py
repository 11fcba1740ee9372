"""``wae-jax train`` for those who work in this folder; see ``python train.py --help``."""

import sys

from wae_jax.runtime import signals

if __name__ == "__main__":
    signals.install()  # before what takes long to import
    from wae_jax.commands.train import main

    main(sys.argv[1:])
