"""Signals that end a program: at once while nothing is lost by it, else when its work is saved.

Python runs signal handlers between two of its own instructions: one that raises strikes anywhere,
and one that comes while XLA compiles waits for minutes. So the handler does nothing here, and a
thread reads the signals' numbers from a pipe. This module imports little, so that a program can
:func:`install` it before all else.
"""

import atexit
import os
import signal
import threading

_STOPPING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class Stopped(BaseException):
    """The program has saved its work after a signal, and ends.

    No Exception, so that nothing on the way takes it for an error.

    Attributes:
        number: the signal's.
    """

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number

    @property
    def status(self) -> int:
        """The exit status that shells give such a program: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


class _Asked:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.installed = self.deferred = self.save = False
        self.stop = 0


_asked = _Asked()


def install() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP end the program, at once until :func:`defer`.

    SIGUSR1 asks it to save and go on. What the program was started to ignore (SIGHUP under nohup)
    is ignored. Call it in the main thread; a second call changes nothing.
    """
    if _asked.installed:
        return
    _asked.installed = True
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (*_STOPPING, signal.SIGUSR1):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    threading.Thread(target=_watch, args=(reader,), name="signals", daemon=True).start()
    atexit.register(_ignore)  # the first to register is the last to be called


def _ignore() -> None:
    """All is done and the exit status is known: Python would give the signals their defaults."""
    for number in (*_STOPPING, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _watch(pipe: int) -> None:
    while True:
        for number in os.read(pipe, 64):
            _receive(number)


def _receive(number: int) -> None:
    with _asked.lock:
        if number == signal.SIGUSR1:
            _asked.save = True
        elif number in _STOPPING:
            name = signal.Signals(number).name
            if not _asked.deferred or _asked.stop:
                os.write(2, f"\nstopped by {name}; the same command continues\n".encode())
                os._exit(128 + number)
            _asked.stop = number
            os.write(2, f"\n{name}: saving after this step; once more ends at once\n".encode())


def defer() -> None:
    """From now on there is something to lose: a first signal only asks, a second ends at once."""
    _asked.deferred = True


def at_once() -> None:
    """From now on nothing is lost any more: a signal ends the program at once.

    Raises:
        Stopped: one has asked before.
    """
    with _asked.lock:
        _asked.deferred = False
        number, _asked.stop = _asked.stop, 0
    if number:
        raise Stopped(number)


def stop_asked() -> int:
    """The number of a signal that has asked to save and end; 0 where none has."""
    return _asked.stop


def take_save_asked() -> bool:
    """Whether SIGUSR1 has come since the last call."""
    with _asked.lock:
        asked, _asked.save = _asked.save, False
    return asked
