"""Processes that meet and watch each other: several in this one, on local sockets."""

import asyncio
import socket
import threading
import time

import pytest

from wae_jax.errors import UserError
from wae_jax.runtime import peers
from wae_jax.runtime.peers import Peers


def until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def vanish(one: Peers) -> None:
    """What the kernel does for a process that ends."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    while tasks:  # Python 3.11's wait_for can lose a cancellation
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=0.05)
    for kept in one._kept:
        if isinstance(kept, asyncio.AbstractServer):
            kept.close()
        elif isinstance(kept, asyncio.StreamWriter):
            kept.transport.abort()
    for writer in one._writers.values():
        writer.transport.abort()


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@pytest.fixture
def make(port):
    """Function that makes one process's connections, which end with the test."""
    made = []

    def make(process, count=3, timeout_s=60):
        made.append(Peers(f"localhost:{port}", count, process, timeout_s))
        return made[-1]

    yield make
    for one in made:
        if one._loop.is_running():
            one.call(vanish(one))
            one._loop.call_soon_threadsafe(one._loop.stop)
            until(lambda one=one: not one._loop.is_running())
        one._loop.close()


@pytest.fixture
def lines(monkeypatch):
    """The lines with which processes would end, and (within the test) shorter waits."""
    lines = []
    monkeypatch.setattr(peers, "end_once", lines.append)
    monkeypatch.setattr(peers, "TELL_S", 0.1)
    monkeypatch.setattr(peers, "_OWN_ERROR_S", 0.1)
    return lines


@pytest.fixture
def meet(make, lines):
    """Function that makes three processes that have met, in their order."""

    def meet(timeout_s=60):
        three = [make(process, timeout_s=timeout_s) for process in range(3)]
        threads = [threading.Thread(target=one.open) for one in three]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        until(lambda: [len(one._writers) for one in three] == [2, 1, 1])
        return three

    return meet


@pytest.mark.parametrize("lost, others", [(0, 2), (2, 2)])
def test_one_that_ends_without_a_word_is_named_by_each_of_the_others(lost, others, meet, lines):
    three = meet()
    three[lost].call(vanish(three[lost]))
    until(lambda: len(lines) == others)
    time.sleep(0.2)
    assert len(lines) == others
    assert all(line.startswith(f"process {lost} of this run has ended, or") for line in lines)


@pytest.mark.parametrize("lost", [0, 1])
def test_an_error_of_its_own_is_told(lost, meet, lines):
    three = meet()
    three[lost].call(three[lost].tell("failed"))
    three[lost].call(vanish(three[lost]))
    until(lambda: len(lines) == 2)
    assert all(f"process {lost} of this run has ended with an error" in line for line in lines)


def test_one_that_is_silent_is_lost(meet, lines):
    three = meet(timeout_s=2)

    async def freeze():
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    time.sleep(2.5)
    assert not lines  # they talk
    three[1].call(freeze())
    until(lambda: len(lines) == 2)
    assert all("process 1 of this run gives no sign of life" in line for line in lines)


def test_those_that_are_done_may_go(meet, lines):
    three = meet()
    for one in (three[1], three[0], three[2]):
        one.call(one.tell("done"))
    until(lambda: [one._done for one in three] == [{1, 2}, {0}, {0}])
    for one in three:
        one.call(vanish(one))
    time.sleep(0.3)
    assert not lines


@pytest.mark.parametrize("done", [True, False])
def test_the_end_of_jaxs_service_may_come_before_the_word_that_all_is_done(
    done, meet, lines, monkeypatch
):
    """They come on two connections, in either order."""
    three = meet()
    monkeypatch.setattr(peers, "TELL_S", 1.0)
    with socket.socket(socket.AF_UNIX) as service, socket.socket(socket.AF_UNIX) as client:
        service.bind(three[0]._socket)
        service.listen()
        client.connect(three[1]._socket)
        connection, _ = service.accept()
        connection.close()
        time.sleep(0.2)
        if done:
            three[0].call(three[0].tell("done"))
            client.settimeout(60)
            assert client.recv(1) == b""  # jax may know
        else:
            until(lambda: lines)
    assert [line.partition(",")[0] for line in lines] == (
        [] if done else ["process 0 of this run has ended"]
    )


@pytest.mark.parametrize(
    "process, count, words", [(1, 3, "is a process 1 .* already"), (1, 4, "process 1 of 4 cannot")]
)
def test_who_does_not_belong_to_the_run_is_refused(process, count, words, meet, make, lines):
    meet()
    with pytest.raises(UserError, match=words):
        make(process, count).open()
    assert not lines


def test_one_that_came_again_before_all_are_there_is_taken(make, port, lines):
    three = [make(process) for process in range(3)]
    threads = [threading.Thread(target=one.open) for one in three]
    threads[0].start()
    until(lambda: three[0]._kept)
    with socket.create_connection(("localhost", port)) as early:
        early.sendall(b"watch 1 3\n")
        until(lambda: 1 in three[0]._readers)
    until(three[0]._readers[1].at_eof)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join(60)
    until(lambda: [len(one._writers) for one in three] == [2, 1, 1])
    assert not lines


def test_a_port_in_use_is_named(port, make):
    with socket.create_server(("", port)), pytest.raises(UserError, match=f"{port}.*in use"):
        make(0).open()


@pytest.mark.parametrize(
    "process, words", [(0, "process 1, 2 of 3 has not come"), (1, "process 0 does not answer at")]
)
def test_nobody_is_waited_for_for_ever(process, words, make, monkeypatch, capsys):
    monkeypatch.setattr(peers, "START_S", 0.5)
    monkeypatch.setattr(peers, "_SAY_AFTER_S", 0.2)
    with pytest.raises(UserError, match=words):
        make(process).open()
    assert f"waiting: {words}" in capsys.readouterr().err


def test_what_is_no_process_of_the_run_is_left_alone(meet, port, lines):
    meet()
    for text in (b"GET / HTTP/1.1\r\n\r\n", b"watch x 3\n", b"\xff\n"):
        with socket.create_connection(("localhost", port)) as stranger:
            stranger.sendall(text)
            assert stranger.recv(1) == b""
    assert not lines
