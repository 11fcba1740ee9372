"""When a run saves besides its fixed steps: by the clock, or where a signal asks.

All processes of a run do so after the same step.
"""

import time

import jax
import numpy as np
from jax.experimental import multihost_utils

from wae_jax.runtime import signals

# Steps between two times that the processes of a run agree: each waits for the devices.
AGREE_EVERY = 10


class Wishes:
    """What was asked of a run from outside; every process gets the same answers.

    Args:
        minutes: the age of the last checkpoint at which another is due; 0: never.

    Attributes:
        stop: the number of the signal after which the run is to save and end; 0: none.
        save: whether it is to save, and to go on.
    """

    def __init__(self, minutes: float = 0.0) -> None:
        self.stop, self.save = 0, False
        self._every, self._last = 60 * minutes, time.monotonic()

    def look(self, step: int) -> bool:
        """Looks whether there is anything new after ``step``; whether it is to be saved."""
        several = jax.process_count() > 1
        if several and step % AGREE_EVERY:
            self.stop, self.save = 0, False
            return False
        due = 0 < self._every <= time.monotonic() - self._last
        own = signals.stop_asked(), signals.take_save_asked(), due
        if several:
            all_own = np.asarray(multihost_utils.process_allgather(np.array(own, np.int32)))
            own = int(all_own[:, 0].max()), bool(all_own[:, 1].any()), bool(all_own[:, 2].any())
        self.stop, self.save, due = own
        return bool(self.stop or self.save or due)

    def at_once(self) -> None:
        """From now on nothing is lost any more: a signal ends the program at once.

        Raises:
            Stopped: one has asked before, this process or, since :meth:`look`, another: in all of
                them, or the others would wait for one that ends.
        """
        number = self.stop
        try:
            signals.at_once()
        except signals.Stopped as stopped:
            number = stopped.number
        if jax.process_count() > 1:
            number = int(np.max(multihost_utils.process_allgather(np.int32(number))))
        if number:
            raise signals.Stopped(number)

    def saved(self) -> None:
        """Notes that there is a new checkpoint."""
        self._last = time.monotonic()
