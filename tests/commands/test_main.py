"""wae-jax itself, and what all commands have in common."""

import resource
import subprocess
import sys

import pytest

from wae_jax import __main__ as program

ON_ITS_OWN = (
    "import sys\n"
    "from wae_jax import __main__ as program\n"
    "try:\n"
    "    program.main()\n"
    "finally:\n"
    "    print('jax' in sys.modules)\n"
)


def python(root, env, code, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=root,
        env=env,
        capture_output=True,
        timeout=60,
        check=False,
        **options,
    )


def test_the_table_has_every_command(root):
    modules = {path.stem for path in (root / "wae_jax" / "commands").glob("*.py")}
    helpers = {"__init__", "completion", "config_files", "flags", "mistakes", "options"}
    assert {name.replace("-", "_") for name in program.COMMANDS} == modules - helpers


def test_help_names_every_command(succeed):
    out = succeed("--help")
    assert all(f"  {name} " in out for name in program.COMMANDS)


@pytest.mark.parametrize("name", program.COMMANDS)
def test_help_of_a_command_has_an_example_and_comes_at_once(name, root, run_env):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = python(root, run_env, ON_ITS_OWN, name, "--help", text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2  # seconds
    assert f" {name} --" in done.stdout or f" {name} imagenet2012 --" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    "arguments, words", [([], ["name a command", "train"]), (["nonsense"], ["nonsense", "predict"])]
)
def test_no_such_command(arguments, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["wae-jax", *arguments])
    with pytest.raises(SystemExit) as end:
        program.main()
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert all(word in error for word in words)


COUNT = (
    "from wae_jax.commands.flags import start\n"
    "def count():\n"
    "    for i in range(10**7):\n"
    "        print(i, flush={flush})\n"
    "start(count)\n"
)


@pytest.mark.parametrize("flush", [True, False])
def test_a_reader_that_leaves_ends_it_quietly(flush, root, run_env):
    """As in ``wae-jax predict ... | head -1``."""
    code = COUNT.format(flush=flush)
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=root,
        env=run_env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout.readline() == b"0\n"
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(60) == 141


def test_a_reader_that_left_before_the_last_line_was_written(root, run_env):
    code = (
        "import os\n"
        "from wae_jax.commands.flags import start\n"
        "reader, writer = os.pipe()\n"
        "os.dup2(writer, 1)\n"
        "os.close(reader)\n"
        "start(lambda: print('figures'))\n"
    )
    done = python(root, run_env, code)
    assert (done.returncode, done.stderr) == (141, b"")


def test_another_broken_pipe_is_no_quiet_end(root, run_env):
    code = (
        "import os\n"
        "from wae_jax.commands.flags import start\n"
        "reader, writer = os.pipe()\n"
        "os.close(reader)\n"
        "start(lambda: os.write(writer, b'x'))\n"
    )
    done = python(root, run_env, code)
    assert done.returncode == 1 and b"BrokenPipeError" in done.stderr


@pytest.mark.parametrize(
    "encoding, printed", [("utf-8:strict", b"\xff\xc3\xa9.jpg\n"), ("ascii", b"\\udcff\\xe9.jpg\n")]
)
def test_file_names_that_are_no_text_are_printed(encoding, printed, root, run_env):
    code = (
        "from wae_jax.commands.flags import start\n"
        "start(lambda: print(b'\\xff\\xc3\\xa9.jpg'.decode('utf-8', 'surrogateescape')))\n"
    )
    done = python(root, run_env | {"PYTHONIOENCODING": encoding}, code)
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", printed)
