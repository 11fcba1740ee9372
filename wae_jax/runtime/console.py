"""Lines on stderr, for people."""

import sys


def duration(seconds: float) -> str:
    """3725 -> '1h02m'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"


def say(text: str, *, transient: bool = False) -> None:
    """A line on stderr; a transient one is overwritten by the next on a terminal."""
    terminal = sys.stderr.isatty()
    end = "\r" if transient and terminal else "\n"
    clear = "\x1b[2K" if terminal else ""
    print(f"{clear}{text}", end=end, file=sys.stderr, flush=True)


def fail(message: str) -> None:
    """Prints the message as one line on stderr and exits with status 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)
