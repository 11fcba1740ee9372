"""README and docs: links lead somewhere, tables are as measured, and what is named exists."""

import re
import shutil
import tomllib

import pytest

import wae_jax
from tools import reference, tables
from wae_jax import config
from wae_jax.__main__ import COMMANDS
from wae_jax.commands import completion
from wae_jax.methods import METHODS

LINK = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]+))?\)")
FENCE = re.compile(r"^ *```.*?^ *```", re.S | re.M)


def documents(root):
    return [*tables.documents(root), root / "CONTRIBUTING.md"]


def anchors(text):
    """Of the headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def test_every_link_leads_somewhere(root):
    links = 0
    for document in (*documents(root), root / "CHANGELOG.md", root / "docs" / "quickstart.ipynb"):
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
    measured = tables.read_rows(root / "results" / "grocery_resnet50.csv")["full"]["top1"]
    figure, wrong = (f"{100 * (float(measured) + more):.2f}" for more in (0, 0.0001))
    readme.write_text(right.replace(f"| {figure} %", f"| {wrong} %"))
    assert readme.read_text() != right
    monkeypatch.setattr("sys.argv", ["tables.py", "check"])
    assert tables.main(tmp_path) == 1
    error = capsys.readouterr().err
    assert re.search(r"README\.md:\d+:", error) and wrong in error and figure in error
    monkeypatch.setattr("sys.argv", ["tables.py", "write"])
    assert tables.main(tmp_path) == 0 and readme.read_text() == right
    # And where the measurement is another one.
    csv = tmp_path / "results" / "grocery_resnet50.csv"
    csv.write_text(csv.read_text().replace(f"full,{measured},", "full,0.5,"))
    monkeypatch.setattr("sys.argv", ["tables.py", "check"])
    assert tables.main(tmp_path) == 1


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


# Names


def test_config_keys_named_in_the_text_exist(root):
    keys = {key for key, _ in completion.config_keys()}
    groups = {key.rsplit(".", depth)[0] for key in keys for depth in (1, 2)}
    parts = {part for group in groups for part in group.split(".")}
    for document in documents(root):
        text = FENCE.sub("", document.read_text())  # commands: test_shown_commands.py
        named = re.findall(r"\bconfig\.([a-z_]\w*(?:\.\w+)*)", text)
        # And without "config.", from any part on, as in `losses.reduction="caffe"`.
        for name in re.findall(r"`([a-z_]+(?:\.\w+)+)(?:=[^`]*)?`", text):
            if name.split(".")[0] in parts and not name.endswith((".json", ".py", ".safetensors")):
                named.append(next((key for key in keys if key.endswith(f".{name}")), name))
        for name in named:
            name = re.sub(r"^stages\.(NAME|STAGE)\.", "stages.joint.", name)
            known = name in keys | groups | {"py", "md", "json"}
            assert known, f"{document.name}: config.{name}"


def test_defaults_in_the_text_are_those_of_the_config(root):
    table = re.findall(
        r"^\| `(\w+)` \| (\w+)(?: \(off\))? \|", (root / "docs" / "faults.md").read_text(), re.M
    )
    settings = config.Settings()
    assert len(table) >= 4
    assert table == [
        (key, f"{getattr(settings, key):g}" if default.isdigit() else default)
        for key, default in table
    ]
    for page, said in {
        "predict.md": f"{settings.data.max_pixels:,}",
        "faults.md": f"`config.parallel.timeout_s` ({settings.parallel.timeout_s}) seconds",
        "data.md": f"({settings.data.min_crop_area} of the photo;",
        "devices.md": f"`reference_batch_size` ({settings.stages['joint'].reference_batch_size})",
    }.items():
        text = " ".join((root / "docs" / page).read_text().split())
        assert said in text, f"{page}: {said}"


def test_all_methods_are_listed(root):
    listed = [root / "docs" / "training.md", *sorted((root / "configs").glob("*.py"))]
    for path in listed:
        if path.name != "__init__.py":
            text = path.read_text()
            for method in (*METHODS, "lowres-SIZE"):
                assert re.search(rf"(?<![\w-]){method}(?![\w-])", text), f"{path.name}: {method}"


def test_rooms_are_those_that_the_linter_knows(root):
    page = (root / "docs" / "architecture.md").read_text()
    shown = re.search(r"```text\n.*?ConfigDicts.*?\n(.*?)```", page, re.S)[1]
    contract = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = contract["contracts"][0]["layers"]
    first = (re.split(" {2,}", line.strip())[0] for line in shown.splitlines())
    assert [name for names in first for name in names.split(", ")] == layers[1:]
    assert layers[0] == "__main__"
    described = re.findall(r"^\| `([\w.]+?)/?` \|", page, re.M)
    assert sorted(described) == sorted(
        path.name for path in (root / "wae_jax").iterdir() if not path.name.startswith("__")
    )


def test_every_page_can_be_reached(root):
    """From the README, and in the site's navigation."""
    readme, site = (root / "README.md").read_text(), (root / "mkdocs.yml").read_text()
    for page in sorted((root / "docs").glob("*.md")):
        assert f"](docs/{page.name}" in readme, page.name
        assert f"- {page.name}\n" in site or f": {page.name}\n" in site, page.name


def test_names_of_the_environment_and_of_the_package_exist(root):
    sources = [*(root / "wae_jax").rglob("*.py"), *(root / "tests").rglob("*.py")]
    code = "".join(path.read_text() for path in sources if path.name != "test_documents.py")
    for document in documents(root):
        text = document.read_text()
        for name in re.findall(r"\bWAE_JAX_\w+", text):
            assert f'"{name}"' in code, f"{document.name}: {name}"
        for name in re.findall(r"`wae_jax\.(\w+)\(?", text):
            known = name in wae_jax.__all__ or (root / "wae_jax" / name).exists()
            assert known, f"{document.name}: wae_jax.{name}"


def test_the_container_has_the_python_that_the_page_names(root):
    (version,) = re.findall(r"^FROM python:([\d.]+)-", (root / "Dockerfile").read_text(), re.M)
    assert f"has Python {version}," in (root / "docs" / "container.md").read_text()


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
    page = reference.public_names()
    for name in wae_jax.__all__:
        assert re.search(rf"^::: wae_jax\.[\w.]+\.{name}$", page, re.M), name
