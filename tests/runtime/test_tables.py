"""Tables for people and for programs."""

import csv
import json

import pytest

from wae_jax.runtime import files, tables


def test_markdown_is_aligned():
    assert tables.markdown([["method", "ms"], ["full", "12.5"], ["wae-fast", "3"]]) == (
        "| method   |   ms |\n| -------- | ---: |\n| full     | 12.5 |\n| wae-fast |    3 |"
    )


def test_csv_has_its_environment_beside_it(tmp_path):
    rows = [{"a": 1, "b": None}, {"a": 2.5, "b": "x, y"}]
    tables.write_csv(tmp_path / "rows.csv", rows, {"cpu": "some"})
    with (tmp_path / "rows.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"a": "1", "b": ""}, {"a": "2.5", "b": "x, y"}]
    assert json.loads((tmp_path / "rows.env.json").read_text()) == {"cpu": "some"}
    assert {path.name for path in tmp_path.iterdir()} == {"rows.csv", "rows.env.json"}


def test_old_figures_stay_where_new_ones_cannot_be_written(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    tables.write_csv(path, [{"a": 1}], {})
    kept = path.read_text()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(OSError, match="no space"):
        tables.write_csv(path, [{"a": 2}], {})
    assert path.read_text() == kept
