"""Every command that a document, a config or a help text shows can be typed; and every option."""

import ast
import importlib
import json
import re
import shlex

import pytest

from tests.commands.conftest import call
from tests.test_documents import FENCE, documents
from tools import reference
from wae_jax.__main__ import COMMANDS
from wae_jax.commands import flags

BLOCK = re.compile(r"^ *```bash\n(.*?)^ *```", re.S | re.M)
CODE = re.compile(r"`([^`]+)`")
OURS = {"train.py": "train", "bench.py": "bench"}
# First words of commands that no parser of ours can check, and who checks them.
OTHERS = {
    "npm": "run by test_tutorial.py",
    "tar": "run by test_tutorial.py",
    "mkdir": "run by test_tutorial.py",
    "curl": "run by test_tutorial.py",
    "cat": "run by test_tutorial.py",
    "kill": "run by test_tutorial.py",
    "serve.py": "run by test_tutorial.py",
    "find": "lists any user's files; what it is piped to is parsed",
    "pip": "its extras and files are compared below",
    "make": "its targets are compared below",
    "launch/local.sh": "run by test_several_processes.py",
    "sbatch": "its script is run by test_several_processes.py, and by test_launch.py",
    "TPU=NAME": "its script is run by test_launch.py",
    "tools/scale.py": "run by test_scale.py",
    "tools/measure.py": "run by test_make_results.py",
    "docker": "no image is built; the Dockerfile is checked by test_release.py",
    ".venv/bin/pre-commit": "installs a git hook in the user's clone",
}
# Options in sentences that are not ours: those of sbatch, and XLA's flag.
FOREIGN = {"signal", "requeue", "dependency", "xla_cpu_experimental_ynn_fusion_type"}


def commands_of(text):
    """The words of every command in lines of a shell."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r" \| | && ", line):
            if words := shlex.split(part, comments=True):
                yield words


def docstrings(root):
    """``(file, docstring)`` of the configs and of what ``--help`` shows."""
    paths = [root / "wae_jax" / "commands" / f"{name.replace('-', '_')}.py" for name in COMMANDS]
    for path in (*sorted((root / "configs").glob("*.py")), *paths):
        yield path, ast.get_docstring(ast.parse(path.read_text()))


def shown_commands(root):
    """``(file, words)`` of every command in README, docs, notebook, configs and help texts."""
    for document in documents(root):
        text = document.read_text()
        for block in BLOCK.findall(text):
            yield from ((document, words) for words in commands_of(block))
        for code in CODE.findall(FENCE.sub("", text)):
            if re.match(r"(python|wae-jax)\s.*=", code, re.S) and "..." not in code:
                yield from ((document, words) for words in commands_of(" ".join(code.split())))
    notebook = root / "docs" / "quickstart.ipynb"
    for cell in json.loads(notebook.read_text())["cells"]:
        source = "".join(cell["source"])
        if source.startswith("%%bash\n"):
            lines = source.removeprefix("%%bash\n").replace(" $TRAIN", "")
            yield from ((notebook, words) for words in commands_of(lines))
    for path, text in docstrings(root):
        for line in re.findall(r"^ {4}(\w.*)$", text.replace("\\\n", " "), re.M):
            line = re.sub(r"(?<=\S) {3,}(?![ -]).*$", "", line)  # a remark beside it
            yield from ((path, words) for words in commands_of(line))


def to_parse(words):
    """The arguments of ``wae-jax``, or None where it is another program."""
    words = [word for word in words if word != "&"]
    if ">" in words:
        words = words[: words.index(">")]
    words = words[1:] if words[0] == "python" else words
    if words[:2] == ["-m", "wae_jax"]:
        return words[2:]
    if words[0] in OURS:
        return [OURS[words[0]], *words[1:]]
    return words[1:] if words[0] == "wae-jax" else None


@pytest.mark.filterwarnings(r"ignore:the load_module\(\) method is deprecated:DeprecationWarning")
def test_every_command_has_the_options_that_are_shown(root, monkeypatch, tmp_path, capsys):
    """Parsed by its own parser, config files and keys included, and not run."""
    tutorial = (root / "docs" / "tutorial.md").read_text()
    ours = re.search(r"Save this as `photos.py`:\n\n```python\n(.*?)```", tutorial, re.S)
    for name in ("photos.py", "my_config.py"):
        (tmp_path / name).write_text(ours[1])
    for name in ("configs", "results"):
        (tmp_path / name).symlink_to(root / name)
    monkeypatch.chdir(tmp_path)
    started = []
    for name in COMMANDS:
        module = importlib.import_module(f"wae_jax.commands.{name.replace('-', '_')}")
        if hasattr(module, "start"):
            monkeypatch.setattr(module, "start", started.append)
    monkeypatch.setattr(flags, "start", started.append)
    parsed, seen = 0, set()
    for file, words in shown_commands(root):
        arguments = to_parse(words)
        if arguments is None or "--help" in words:
            continue
        assert call(*arguments) == 0, f"{file.name}: {words}\n{capsys.readouterr().err}"
        parsed += 1
        seen.add(file.suffix)
    assert parsed == len(started) > 80
    assert seen == {".md", ".ipynb", ".py"}


def test_other_programs_are_known(root):
    extras = set(re.findall(r"^(\w+) = \[", (root / "pyproject.toml").read_text(), re.M))
    targets = set(re.findall(r"^([\w-]+):", (root / "Makefile").read_text(), re.M))
    met = set()
    for file, words in shown_commands(root):
        if to_parse(words) is not None:
            continue
        words = words[1:] if words[0] == "python" else words
        assert words[0] in OTHERS, f"{file.name}: {words}"
        met.add(words[0])
        if words[0] == "make":
            assert set(words[1:]) <= targets, file.name
        for extra in re.findall(r"\.\[([\w,]+)\]", " ".join(words)):
            assert set(extra.split(",")) <= extras, f"{file.name}: {extra}"
    assert met == OTHERS.keys()


def test_what_is_named_in_a_sentence_exists(root):
    """Targets of make, requirements, and files of the repository."""
    targets = set(re.findall(r"^([\w-]+):", (root / "Makefile").read_text(), re.M))
    folders = r"(?:configs|docs|launch|results|tests|tools|wae_jax)/[\w./-]+"
    for document in documents(root):
        for code in CODE.findall(FENCE.sub("", document.read_text())):
            for target in re.findall(r"^make ([\w-]+)", code):
                assert target in targets, f"{document.name}: make {target}"
            if re.fullmatch(rf"requirements[\w-]*\.txt|{folders}", code):
                assert (root / code).exists(), f"{document.name}: {code}"


def options():
    """{option: the values that it may have, or None where any will do}, over all our programs."""
    found: dict[str, set[str] | None] = {"help": None, "version": None}
    for command in COMMANDS:
        module = importlib.import_module(f"wae_jax.commands.{command.replace('-', '_')}")
        for _, rows in reference.options_of(module):
            for text, _, _ in rows:
                for name, values in re.findall(r"--(\w+)(?:=\{(.*?)\})?", text):
                    known = found.setdefault(name, set())
                    if values and known is not None:
                        known |= set(values.split(","))
                    else:
                        found[name] = None
    return found


def test_options_in_sentences_exist(root):
    known: dict[str, set[str] | None] = dict.fromkeys(FOREIGN)
    for tool in ("scale", "measure", "exporters"):
        source = (root / "tools" / f"{tool}.py").read_text()
        known |= dict.fromkeys(re.findall(r'\("--(\w+)"', source))
    known |= options()
    for document in documents(root):
        for code in CODE.findall(FENCE.sub("", document.read_text())):
            for name, value in re.findall(r"(?:^|[\s|])--(\w[\w-]*)(?:=([\w|-]+))?", code):
                if name == "config":
                    continue  # keys are looked up in test_documents.py
                assert name in known, f"{document.name}: --{name}"
                allowed = known[name]
                if allowed and value and not value.isupper():
                    assert value in allowed, f"{document.name}: --{name}={value}"
