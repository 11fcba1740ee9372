"""README and docs: links lead somewhere, tables are as measured, and commands can be typed."""

import importlib
import re
import shlex
import shutil

import pytest

from tests.commands.conftest import call
from tools import reference, tables
from wae_jax import config
from wae_jax.__main__ import COMMANDS
from wae_jax.commands import completion, flags

LINK = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]+))?\)")
BLOCK = re.compile(r"^ *```bash\n(.*?)^ *```", re.S | re.M)
FENCE = re.compile(r"^ *```.*?^ *```", re.S | re.M)
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
    "pip": "its extras are compared below",
    "make": "its targets are compared below",
    "launch/local.sh": "run by test_several_processes.py",
    "sbatch": "its script is run by test_several_processes.py, and by test_launch.py",
    "TPU=NAME": "its script is run by test_launch.py",
    "tools/scale.py": "run by test_scale.py",
    "docker": "no image is built; the Dockerfile is checked by test_release.py",
    ".venv/bin/pre-commit": "installs a git hook in the user's clone",
}


def documents(root):
    return [*tables.documents(root), root / "CONTRIBUTING.md"]


def anchors(text):
    """Of the headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def test_every_link_leads_somewhere(root):
    links = 0
    for document in documents(root):
        for path, anchor in LINK.findall(FENCE.sub("", document.read_text())):
            if re.match(r"\w+:", path):
                continue
            target = (document.parent / path).resolve() if path else document
            assert target.exists(), f"{document.name}: {path}"
            if anchor:
                assert anchor in anchors(target.read_text()), f"{document.name}: {path}#{anchor}"
            links += 1
    assert links > 80


def test_every_config_that_is_named_is_there(root):
    for document in documents(root):
        for path in re.findall(r"configs/\w+\.py", document.read_text()):
            assert (root / path).exists(), f"{document.name}: {path}"


def test_readme_is_short(root):
    assert len((root / "README.md").read_text().splitlines()) <= 180


# Tables


def test_tables_are_what_was_measured(root):
    found = 0
    for document in tables.documents(root):
        text = document.read_text()
        assert tables.renew(text, root) == text, document.name
        found += len(tables.TABLE.findall(text))
    assert found >= 8


def test_a_wrong_digit_fails_and_is_written_right(root, tmp_path, monkeypatch, capsys):
    shutil.copytree(root / "results", tmp_path / "results")
    (tmp_path / "docs").mkdir()
    right = (root / "README.md").read_text()
    readme = tmp_path / "README.md"
    readme.write_text(right.replace("| 80.71 %", "| 80.72 %"))
    assert readme.read_text() != right
    monkeypatch.setattr("sys.argv", ["tables.py", "check"])
    assert tables.main(tmp_path) == 1
    error = capsys.readouterr().err
    assert re.search(r"README\.md:\d+:", error) and "80.72" in error and "80.71" in error
    monkeypatch.setattr("sys.argv", ["tables.py", "write"])
    assert tables.main(tmp_path) == 0 and readme.read_text() == right
    # And where the measurement is another one.
    csv = tmp_path / "results" / "cifar10_early.csv"
    csv.write_text(csv.read_text().replace("0.8071", "0.8171"))
    monkeypatch.setattr("sys.argv", ["tables.py", "check"])
    assert tables.main(tmp_path) == 1


def test_figures_in_the_text_are_those_of_the_table(root):
    row = tables.read_rows(root / "results" / "cifar10_early.csv")["wae-early"]

    def points(column):
        return f"{100 * float(row[column]):.1f}"

    one, many = "above_curve", "above_curve_batch_32"
    text = " ".join((root / "README.md").read_text().split())
    assert (
        f"At equal time `wae-early` is {points(one)} points above plain low resolution at batch 1 "
        f"(95 % interval {points(f'{one}_low')} to {points(f'{one}_high')}) and {points(many)} at "
        f"batch 32 ({points(f'{many}_low')} to {points(f'{many}_high')})."
    ) in text


@pytest.mark.parametrize(
    "description, words",
    [
        ("results/none.csv\n| a |\n| {variant} |", "none.csv"),
        ("results/cifar10.csv\n| a |\n| {none} |", "none"),
        ("results/cifar10.csv\nrows: none\n| a |\n| {variant} |", "none"),
        ("results/cifar10.csv\n| a |", "two lines"),
    ],
)
def test_tables_that_cannot_be_made(description, words, root):
    with pytest.raises(ValueError, match=words):
        tables.make_table(description, root)


# Commands


def shown_commands(root):
    """``(document, words)`` of every command in a block of README and docs."""
    for document in documents(root):
        for block in BLOCK.findall(document.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r" \| | && ", line):
                    if words := shlex.split(part, comments=True):
                        yield document, words


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
    parsed = 0
    for document, words in shown_commands(root):
        arguments = to_parse(words)
        if arguments is None or "--help" in words:
            continue
        assert call(*arguments) == 0, f"{document.name}: {words}\n{capsys.readouterr().err}"
        parsed += 1
    assert parsed == len(started) > 40


def test_other_programs_are_known(root):
    extras = set(re.findall(r"^(\w+) = \[", (root / "pyproject.toml").read_text(), re.M))
    targets = set(re.findall(r"^([\w-]+):", (root / "Makefile").read_text(), re.M))
    for document, words in shown_commands(root):
        if to_parse(words) is not None:
            continue
        words = words[1:] if words[0] == "python" else words
        assert words[0] in OTHERS, f"{document.name}: {words}"
        if words[0] == "make":
            assert set(words[1:]) <= targets, document.name
        for extra in re.findall(r"\.\[(\w+)\]", " ".join(words)):
            assert extra in extras, f"{document.name}: {extra}"


def test_config_keys_named_in_the_text_exist(root):
    keys = {key for key, _ in completion.config_keys()}
    groups = {key.rsplit(".", depth)[0] for key in keys for depth in (1, 2)}
    for document in documents(root):
        text = FENCE.sub("", document.read_text())  # commands are parsed above
        for name in re.findall(r"\bconfig\.([a-z_]\w*(?:\.\w+)*)", text):
            name = name.replace("stages.NAME.", "stages.joint.")
            known = name in keys | groups | {"py", "md", "json"}
            assert known, f"{document.name}: config.{name}"


# What `make docs` makes of the code


def test_reference_has_every_config_key_with_its_comment():
    page = reference.config_keys()
    for key, _ in completion.config_keys():
        shown = re.sub(r"^stages\.\w+\.", "stages.STAGE.", key)
        assert f"| `{shown}` |" in page, key
    assert "| `losses.gamma` | float at least 0 | `0.001` | L = L_c + gamma * L_t |" in page
    assert "| `data.max_pixels` | int at least 1 | `178956970` | Larger images are refused" in page
    assert config.Settings().stages.keys() <= set(re.findall(r"^- `(\w+)`: ", page, re.M))


def test_reference_has_every_command_and_option():
    page = reference.commands()
    assert re.findall(r"^## (.+)$", page, re.M) == list(COMMANDS)
    for option in ("--top", "--batch_sizes", "--devices={cpu,gpu,tpu}", "--checkpoint", "--in"):
        assert f"| `{option}" in page, option
    assert re.findall(r"^### (.+)$", page, re.M) == ["imagenet2012", "tfrecord", "folder"]


def test_reference_has_every_public_name():
    import wae_jax

    page = reference.public_names()
    for name in wae_jax.__all__:
        assert re.search(rf"^::: wae_jax\.[\w.]+\.{name}$", page, re.M), name
