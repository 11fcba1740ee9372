"""Every file of results/ stands in the list of docs/results.md, with its date."""

import json
import re


def test_every_file_is_named_with_its_date(root):
    text = (root / "docs" / "results.md").read_text()
    every = {path.stem for path in (root / "results").glob("*.csv")}
    date, dated = "", set()
    for row in re.findall(r"^\| (\[\w+\.csv\].*) \|$", text, re.M):
        cells = row.split(" | ")
        date = date if cells[2].startswith("the same") else cells[2][:10]
        for name in re.findall(r"\[(\w+)\.csv\]", cells[0]):
            dated.add(name)
            record = root / "results" / f"{name}.env.json"
            if record.exists():
                assert json.loads(record.read_text())["date"][:10] == date, name
            else:
                assert f"`{name}.csv`" in text, f"{name}: no environment, and the page is silent"
    assert dated == every
