"""What programs tell people on stderr: lines, and bars for long work."""

import sys
from typing import NoReturn

import tqdm

_SECONDS_BETWEEN_LINES = 10.0  # of progress, where nothing can be redrawn


def duration(seconds: float) -> str:
    """3725 -> '1h02m'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"


def say(text: str) -> None:
    """A line on stderr, above any bar that is shown."""
    tqdm.tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


class _Lines(tqdm.tqdm):
    """A bar for logs: a line of its own now and then, nothing redrawn."""

    disable: bool  # tqdm's own

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        print(str(self) if msg is None else msg, file=sys.stderr, flush=True)
        return True

    def close(self) -> None:
        if not self.disable:
            self.disable = True
            self._decr_instances(self)


# No thread of tqdm's own, which would draw beside the one that updates a bar.
tqdm.tqdm.monitor_interval = 0


def progress_bar(
    what: str,
    total: float,
    *,
    unit: str = "it",
    scaled: bool = False,
    done: float = 0,
    own: bool = False,
) -> tqdm.tqdm:
    """A bar on stderr with rate and time left; use it in a ``with`` block and ``update(n)`` it.

    On a terminal it is redrawn in place and gone at the end; elsewhere it is a line every ten
    seconds.

    Args:
        what: stands before the bar.
        total: what ``update`` counts up to.
        unit: of what is counted.
        scaled: show thousands as k, M, G.
        done: how much was done before, by an earlier run.
        own: the caller tells rate and time left by its own clock, in the bar's postfix; without a
            terminal in lines of its own, and the bar is disabled (``bar.disable``).
    """
    terminal = sys.stderr.isatty()
    kind = tqdm.tqdm if terminal else _Lines
    return kind(
        desc=what,
        total=total,
        unit=unit,
        unit_scale=scaled,
        initial=done,
        file=sys.stderr,
        disable=own and not terminal,
        bar_format="{desc} {n_fmt}/{total_fmt} |{bar}|{postfix}" if own else None,
        leave=False,
        dynamic_ncols=terminal,
        mininterval=0.2 if terminal else _SECONDS_BETWEEN_LINES,
        delay=0 if terminal else _SECONDS_BETWEEN_LINES,
    )


def fail(message: str) -> NoReturn:
    """Prints the message as one line on stderr and exits with status 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)
