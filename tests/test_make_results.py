"""tools/measure.py: what `make results` runs, and that it goes on where it stopped."""

import csv
import json
import re
import subprocess

import pytest

from tests.commands.conftest import call
from tools import exporters, measure, tables
from wae_jax.commands import flags, study


def test_every_file_of_results_has_its_command(root):
    assert {*(result.name for result in measure.RESULTS), *measure.COMPUTED} == {
        path.stem for path in (root / "results").glob("*.csv")
    }


@pytest.mark.filterwarnings(r"ignore:the load_module\(\) method is deprecated:DeprecationWarning")
def test_every_command_has_these_options(root, monkeypatch, capsys):
    """Parsed by its own parser, and not run."""
    started = []
    monkeypatch.chdir(root)
    for module in (flags, study):
        monkeypatch.setattr(module, "start", started.append)
    commands = [command for result in measure.RESULTS for command in result.commands]
    for command in commands:
        if command[0] == "tools/exporters.py":
            started.append(exporters.parse(command[1:]))
            continue
        assert command[:2] == ["-m", "wae_jax"]
        assert call(*command[2:]) == 0, capsys.readouterr().err
    assert len(started) == len(commands) > len(measure.RESULTS)


def test_what_a_study_measures_it_has_trained():
    """All that --only=measure names, and with both seeds what is named for the second one."""
    for result in measure.RESULTS:
        if "--only=measure" not in result.command:
            assert not result.first, result.name
            continue
        variants, *trained = (
            {*re.search(r"--variants=(\S+)", command)[1].split(",")}
            for command in (result.command, *result.first)
        )
        assert variants == trained[0]
        assert {"full", "lowres", "wae-fast", "wae-early+distill"} <= trained[1] < variants
        assert [command.split("--seeds=")[1][:2] for command in result.first] == ["0 ", "1 "]


def test_the_methods_are_those_of_the_tables(root):
    """What a table shows is measured again."""
    for result in measure.RESULTS:
        with open(root / "results" / f"{result.name}.csv") as file:
            rows = list(csv.DictReader(file))
        names = {row[key] for row in rows for key in ("variant", "method") if key in row}
        listed = result.command.replace("=", ",").replace(" ", ",").split(",")
        assert names <= set(listed), result.name


def test_the_studies_of_the_makefile_are_results(root):
    """One list of networks for each, in tools/measure.py."""
    makefile = (root / "Makefile").read_text()
    targets = re.findall(r"tools/measure\.py --only=(\S+)", makefile)
    named = [name for names in targets for name in names.split(",")]
    studies = "cifar10", "cifar10_rivals", "cifar10_longer", "grocery_resnet50", "grocery_rivals"
    assert named == [*studies]
    assert set(named) <= {result.name for result in measure.RESULTS}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A repository in which commands write their files at once, or fail."""
    (tmp_path / "results").mkdir()
    ran = []

    def run(command, cwd, check):
        (name,) = [r.name for r in measure.RESULTS if command[1:] in r.commands]
        if command[1:] != next(r for r in measure.RESULTS if r.name == name).arguments:
            return
        ran.append(name)
        if name == "data_bench":
            raise subprocess.CalledProcessError(2, command)
        for file in next(r for r in measure.RESULTS if r.name == name).files:
            (cwd / measure.FOLDER / file).write_text(name)

    monkeypatch.setattr(measure.subprocess, "run", run)
    return tmp_path, ran


def test_it_goes_on_where_it_stopped(place, capsys):
    root, ran = place
    assert measure.main(["--list"], root) == 0 and not ran
    assert measure.main(["--only=quickstart"], root) == 0
    assert (root / "results" / "quickstart.csv").read_text() == "quickstart"
    assert measure.main([], root) == 1  # one fails
    assert "failed: data_bench" in capsys.readouterr().err
    assert ran.count("quickstart") == 1 and set(ran) == {r.name for r in measure.RESULTS}
    before = list(ran)
    assert measure.main([], root) == 1
    assert ran == [*before, "data_bench"]


def test_a_result_without_its_command_is_named(root, tmp_path):
    assert tables.unfounded(root) == []
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "new.csv").write_text("a\n1\n")
    assert "no command and no commit in new.env.json" in tables.unfounded(tmp_path)[0]
    record = tmp_path / "results" / "new.env.json"
    record.write_text(json.dumps({"command": "wae-jax bench", "commit": None}))
    assert tables.unfounded(tmp_path) == ["results/new.csv: no commit in new.env.json"]
    record.write_text(json.dumps({"command": "wae-jax bench", "commit": "abc"}))
    assert tables.unfounded(tmp_path) == []
