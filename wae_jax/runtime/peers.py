"""The processes of one run: they meet through process 0, and none of them outlives another.

jax's own client aborts its process, with a report from C++ and status 134, where the connection to
process 0 breaks. So that connection goes through two relays, and it is between them that it breaks:

    jax's client in process K - relay in K - network - hub in process 0 - jax's service in 0

Beside it each process has a connection to the hub of its own, on which both sides say that they are
alive, have failed, or are done. Where one ends without that word, or is silent for too long, each
of the others prints one line and ends with status 2.
"""

import asyncio
import contextlib
import os
import secrets
import threading
import time
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeAlias

from wae_jax.errors import UserError
from wae_jax.runtime.console import say

START_S = 300  # for all processes to come, as long as jax itself would wait
_SAY_AFTER_S = 10  # that one waits for others
TELL_S = 0.5  # in which a process that ends can still say why
_OWN_ERROR_S = 2.0  # more, for a process that is about to tell the same mistake in its own words
_GO_ON = "start all of them again, and they go on from the last checkpoint"
_HOW = {
    "gone": "has ended, or cannot be reached",
    "silent": "gives no sign of life (config.parallel.timeout_s)",
    "failed": "has ended with an error, which it tells",
}

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


class Peers:
    """This process's connections to the others of its run, served by a thread.

    Args:
        address: host:port of process 0.
        count: how many processes there are.
        process: which of them this is.
        timeout_s: after so many seconds without a word a process is lost.

    Attributes:
        local: the address in this process that jax's client and service take.
    """

    def __init__(self, address: str, count: int, process: int, timeout_s: int):
        host, _, port = address.rpartition(":")
        self.host, self.port = host.strip("[]"), int(port)
        self.count, self.process, self.timeout_s = count, process, timeout_s
        # An abstract socket of Linux: no file that stays, and no proxy on the way.
        self._socket = f"\0wae-jax-{os.getpid()}-{secrets.token_hex(8)}"
        self.local = f"unix-abstract:{self._socket[1:]}"
        self._loop = asyncio.new_event_loop()
        self._complete = asyncio.Event()
        self._readers: dict[int, Reader] = {}
        self._writers: dict[int, Writer] = {}
        self._done: set[int] = set()  # processes that have said so
        self._losses: list[tuple[int, str]] = []
        self._relays = 0  # connections of jax that are open
        self._kept: list[Any] = []  # what must not be collected

    def open(self) -> None:
        """Waits until all processes have come.

        Raises:
            UserError: one does not, or two have the same number, or the port is in use.
        """
        threading.Thread(target=self._loop.run_forever, name="peers", daemon=True).start()
        self.call(self._open_hub() if self.process == 0 else self._open_spoke())

    def call(self, coroutine: Coroutine) -> Any:
        """Runs a coroutine in the thread; its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _open_hub(self) -> None:
        try:
            self._kept.append(await asyncio.start_server(self._serve, port=self.port))
        except OSError as error:
            raise UserError(
                f"process 0 cannot listen on port {self.port} (config.parallel.coordinator): "
                f"{os.strerror(error.errno or 0)}"
            ) from error
        began = time.monotonic()
        while not self._complete.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._complete.wait(), _SAY_AFTER_S)
                return
            missing = sorted(set(range(1, self.count)) - self._here())
            text = f"process {', '.join(map(str, missing))} of {self.count} has not come yet"
            if time.monotonic() - began > START_S:
                raise UserError(f"{text}, after {START_S} s; see config.parallel")
            say(f"waiting: {text}")

    async def _open_spoke(self) -> None:
        began, said = time.monotonic(), False
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                writer.write(f"watch {self.process} {self.count}\n".encode())
                answer = await reader.readline()
                if answer:
                    break
                writer.close()  # it has ended meanwhile
            waited = time.monotonic() - began
            text = f"process 0 does not answer at {self.host}:{self.port}"
            if waited > START_S:
                raise UserError(f"{text}, after {START_S} s; see config.parallel.coordinator")
            if waited > _SAY_AFTER_S and not said:
                said = True
                say(f"waiting: {text} yet")
            await asyncio.sleep(0.2)
        if answer.startswith(b"no "):
            writer.close()
            raise UserError(answer.decode().strip().removeprefix("no "))
        self._kept.append(await asyncio.start_unix_server(self._relay, self._socket))
        self._kept.append(asyncio.ensure_future(self._talk(0, reader, writer)))

    def _here(self) -> set[int]:
        return {process for process, reader in self._readers.items() if not reader.at_eof()}

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        """The hub's end of a connection: jax's, or one that watches."""
        try:
            words = (await asyncio.wait_for(reader.readline(), _SAY_AFTER_S)).decode().split()
            if words == ["jax"]:
                await self._to_service(reader, writer)
            elif len(words) == 3 and words[0] == "watch":
                await self._take_in(int(words[1]), int(words[2]), reader, writer)
        except (OSError, ValueError):  # nobody of this run
            pass
        finally:
            writer.close()

    async def _take_in(self, process: int, count: int, reader: Reader, writer: Writer) -> None:
        refusal = ""
        if count != self.count or not 0 < process < count:
            refusal = (
                f"process {process} of {count} cannot join the run at port {self.port}, which is "
                f"of {self.count} processes; see config.parallel.num_processes"
            )
        elif process in self._here():
            refusal = (
                f"there is a process {process} in the run at port {self.port} already; each needs "
                "a config.parallel.process_id of its own"
            )
        if refusal:
            writer.write(f"no {refusal}\n".encode())
            return
        self._readers[process], self._writers[process] = reader, writer
        if len(self._here()) == self.count - 1:
            self._complete.set()
        await self._complete.wait()
        if self._readers[process] is reader:  # else it has ended, and come again
            writer.write(b"yes\n")
            await self._talk(process, reader, writer)

    async def _talk(self, other: int, reader: Reader, writer: Writer) -> None:
        """Says that this process is alive, and listens what ``other`` says, until it ends."""
        self._writers[other] = writer
        self._kept.append(asyncio.ensure_future(self._beat(writer)))
        line, how = b"", "gone"
        try:
            while line := await asyncio.wait_for(reader.readline(), self.timeout_s):
                word, *rest = line.decode().split()
                if word == "done":
                    self._done.add(other)
                elif word == "failed":
                    self._lose(other, "failed")
                elif word == "lost":
                    self._lose(int(rest[0]), rest[1])
        except TimeoutError:
            how = "silent"
        except OSError:
            pass
        if other not in self._done:
            self._lose(other, how)

    async def _beat(self, writer: Writer) -> None:
        while not writer.is_closing():
            writer.write(b"alive\n")
            await asyncio.sleep(self.timeout_s / 4)

    async def _to_service(self, reader: Reader, writer: Writer) -> None:
        """From the hub to jax's service in this process, which may not be up yet."""
        for _ in range(10 * START_S):
            try:
                service = await asyncio.open_unix_connection(self._socket)
                break
            except OSError:
                await asyncio.sleep(0.1)
        else:
            return
        self._relays += 1
        try:
            await _pump_until_one_ends((reader, writer), service)
        finally:
            self._relays -= 1
            service[1].close()

    async def _relay(self, reader: Reader, writer: Writer) -> None:
        """From jax's client in this process to the hub. Where that is gone, jax must not know."""
        try:
            hub = await asyncio.open_connection(self.host, self.port)
            hub[1].write(b"jax\n")
            await _pump_until_one_ends((reader, writer), hub)
            hub[1].close()
        except OSError:
            pass
        left = bool(reader.at_eof() or reader.exception())
        if not left:
            await asyncio.sleep(TELL_S)  # that it is done, 0 says on another connection
        if left or 0 in self._done:
            writer.close()
        else:
            self._kept.append(writer)
            self._lose(0, "gone")

    def _lose(self, process: int, how: str) -> None:
        self._losses.append((process, how))
        if len(self._losses) > 1:
            return
        if self.process == 0:
            self._tell(f"lost {process} {how}", but=process)
        self._kept.append(asyncio.ensure_future(self._end()))

    async def _end(self) -> None:
        await asyncio.sleep(TELL_S)
        process, how = next((x for x in self._losses if x[1] == "failed"), self._losses[0])
        if how == "failed":
            await asyncio.sleep(_OWN_ERROR_S)
        end_once(f"process {process} of this run {_HOW[how]}; {_GO_ON}")

    def _tell(self, text: str, but: int = -1) -> None:
        for process, writer in self._writers.items():
            if process != but:
                writer.write(f"{text}\n".encode())

    async def tell(self, text: str) -> None:
        """Says something to process 0, or from there to all."""
        self._tell(text)
        with contextlib.suppress(OSError):
            await asyncio.gather(*(writer.drain() for writer in self._writers.values()))

    async def end_of_relays(self) -> None:
        """Waits for the last word of jax's service to the others."""
        for _ in range(50):
            if not self._relays:
                return
            await asyncio.sleep(0.1)


async def _pump(reader: Reader, writer: Writer) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


async def _pump_until_one_ends(one: tuple[Reader, Writer], other: tuple[Reader, Writer]) -> None:
    tasks = [asyncio.ensure_future(_pump(a[0], b[1])) for a, b in ((one, other), (other, one))]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


_ending = threading.Lock()


def end_once(text: str) -> NoReturn:
    """Ends this process with one line and status 2, whichever thread comes first."""
    _ending.acquire()  # for good: two threads may come to know the same
    new = "\n" if os.isatty(2) else ""  # a bar may stand there
    os.write(2, f"{new}error: {text}\n".encode())
    os._exit(2)
