"""Bars and lines on stderr."""

import io

import pytest

from wae_jax.runtime import console


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_a_bar_is_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(console, "_SECONDS_BETWEEN_LINES", 0.0)
    with console.progress_bar("shards", 4, unit="B") as bar:
        for _ in range(4):
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("shards: 100%") and "4/4" in lines[-1]
    assert all(line.startswith("shards: ") and "\r" not in line for line in lines)


def test_short_work_leaves_nothing_in_a_log(capsys):
    with console.progress_bar("shards", 4) as bar:
        bar.update(4)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_a_bar_is_redrawn_and_gone_at_the_end(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with console.progress_bar("steps", 3) as bar:
        bar.update(3)
        bar.refresh()
        console.say("a line above it")
    shown = terminal.getvalue()
    assert "steps: 100%" in shown and "a line above it\n" in shown
    assert shown.rsplit("\r", 1)[1] == ""  # the last thing is the return to an empty line


def test_a_bar_may_tell_its_callers_own_rate(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with console.progress_bar("[joint]", 8, own=True, done=2) as bar:
        bar.set_postfix_str("3 images/s, 5s left")
    shown = terminal.getvalue()
    assert "2/8" in shown and "3 images/s, 5s left" in shown
    assert "it/s" not in shown and "<" not in shown


def test_without_a_terminal_the_caller_tells_it_alone(capsys):
    with console.progress_bar("[joint]", 8, own=True) as bar:
        assert bar.disable
        bar.set_postfix_str("3 images/s")
        bar.update(8)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "seconds, text", [(0, "0s"), (59.6, "1m00s"), (61, "1m01s"), (3725, "1h02m")]
)
def test_durations(seconds, text):
    assert console.duration(seconds) == text
