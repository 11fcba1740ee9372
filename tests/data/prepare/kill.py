"""Prepares a data set in children of this process that are killed, until one comes to its end.

Usage: python kill.py steps|times MIN_SHARD_SIZE DATA_DIR ARGUMENTS...

steps: for n = 1, 2, ... into DATA_DIR/n: a child killed just before the n-th change to the disk
  that matters for its order, then one that is not; until n is more than there are changes.
times: for n = 1, 2, 3, into DATA_DIR/n: a child killed after a random time, then one that is not;
  a child that was done by then has its work removed and an earlier moment is tried.

Prints how many were killed. Forking saves the time to import everything again.
"""

import itertools
import os
import random
import shutil
import signal
import sys
import threading
import time

from tensorflow_datasets.core.utils import shard_utils

from wae_jax.__main__ import main
from wae_jax.data import prepare  # noqa: F401 (imported before forking)


def child(argv, before=lambda: None):
    """Runs the command in a child: its exit status, or minus the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        before()
        sys.argv = ["wae_jax", *argv]
        try:
            main()
        except SystemExit as end:
            os._exit(end.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die_before_step(n):
    """Makes the n-th change that matters the process's last moment."""
    count, lock = itertools.count(1), threading.Lock()

    def deadly(function):
        def call(*args, **kwargs):
            with lock:
                if next(count) == n:
                    os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for name in ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir"):
        setattr(os, name, deadly(getattr(os, name)))


def die_after(seconds):
    def wait():
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def run(argv, **kwargs):
    status = child(argv, **kwargs)
    if status not in (0, -signal.SIGKILL):
        sys.exit(f"a child ended with status {status}")
    return status == 0


mode, min_shard_size, data_dir, *arguments = sys.argv[1:]
shard_utils.ShardConfig.min_shard_size = int(min_shard_size)
killed = 0
if mode == "steps":
    for n in itertools.count(1):
        argv = [*arguments, f"--data_dir={data_dir}/{n}"]
        if run(argv, before=lambda n=n: die_before_step(n)):
            break
        killed += 1
        assert run(argv)
else:
    begin = time.monotonic()
    assert run([*arguments, f"--data_dir={data_dir}/whole"])
    duration = time.monotonic() - begin
    moments = random.Random(0)
    for n in range(1, 4):
        argv = [*arguments, f"--data_dir={data_dir}/{n}"]
        moment = moments.uniform(0.2, 0.9) * duration
        while run(argv, before=lambda moment=moment: die_after(moment)):
            shutil.rmtree(f"{data_dir}/{n}")
            moment *= 0.7
        killed += 1
        assert run(argv)
print(killed)
