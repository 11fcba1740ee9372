"""Records that cannot be used, and what is said of those that are passed over."""

import dataclasses
import logging

POLICIES = ("error", "skip")  # the values of config.data.bad_records

_SHOWN = 5  # bad records that are described one by one; the rest is only counted
_log = logging.getLogger("wae_jax")


class BadRecordError(ValueError):
    """A record cannot be used; the message says why, not which.

    A file that cannot be opened is no bad record: next to nothing would be left of a data set whose
    disk is gone, and nobody would know. It is a UserError under every policy.
    """


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A bad record that was passed over.

    Attributes:
        record: its number in the source.
        message: where it lies and what is wrong, one line.
    """

    record: int
    message: str


class Tally:
    """Counts the bad records of one pass or stage, and logs the first few and the total."""

    def __init__(self, split: str):
        self._split = split
        self._times: dict[int, int] = {}

    def add(self, skipped: tuple[Skipped, ...]) -> None:
        """Counts records; one that is new is described, as long as few have been."""
        for item in skipped:
            if item.record not in self._times and len(self._times) < _SHOWN:
                _log.warning("skipping %s", item.message)
            self._times[item.record] = self._times.get(item.record, 0) + 1

    def report(self) -> None:
        """Logs the total since the last report, unless it is zero."""
        if self._times:
            _log.warning(
                "skipped %d bad record(s) of %s, met %d time(s)",
                len(self._times),
                self._split,
                sum(self._times.values()),
            )
        self._times.clear()
