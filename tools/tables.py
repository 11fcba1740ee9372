"""Tables of README and docs that come from a CSV file in results/: compared with it, or renewed.

    python tools/tables.py check      fails, and names the line, where a table differs from its CSV
    python tools/tables.py write      writes every table anew

Such a table stands between two comments. The first names the CSV files and has the table's heading
and its row, with a column of the CSV and how to show it in braces::

    <!-- table results/cifar10.csv
    | network | top-1 | ms |
    | {variant:name} | {top1:percent} | {ms_batch_1:.3f} |
    -->
    ... the table ...
    <!-- end of table -->

A line ``rows: full, lowres`` in it picks rows and their order. Rows that differ in their batch size
and runtime alone are one: their columns get the ending ``_batch_N``, and in front of it, for all
runtimes but jax, ``RUNTIME_``. With several files a column is ``FILE.COLUMN``.
"""

import argparse
import csv
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[1]
TABLE = re.compile(r"(<!-- table (.*?)-->\n)(.*?)(<!-- end of table -->)", re.S)
NAMES = {
    "full": "full resolution",
    "lowres": "low resolution",
    "lowres+distill": "low resolution, with a teacher",
    "wae": "WAE (`wae`: ReLU polyphase encoder)",
    "wae-fast": "WAE, folded (`wae-fast`)",
    "wae-fast+distill": "`wae-fast`, with a teacher",
    "wavelet-cdf97": "CDF 9/7 wavelet, two branches",
    "wavelet-haar": "Haar wavelet, two branches",
    "decomposition": "decomposition (no transform loss)",
    "haar-early": "Haar wavelet, early fusion",
    "wae-early": "**WAE, early fusion (`wae-early`)**",
}


class Value:
    """One value of a row; in a format string its spec says how it is shown."""

    def __init__(self, row: dict[str, str], column: str):
        self.row, self.column = row, column

    def __format__(self, spec: str) -> str:
        """``spec``: a kind of :func:`_show`, or Python's; ``interval`` behind it adds one."""
        kind, _, interval = spec.partition(" ")
        text = _show(self.row[self.column], kind)
        if text and interval:
            low, high = (self.row[f"{self.column}_{end}"] for end in ("low", "high"))
            if low == high:  # of what the others are compared with
                return text
            text += f" [{_show(low, kind).rstrip('x')}, {_show(high, kind).rstrip('x')}]"
        return text


def _show(value: str, kind: str) -> str:
    if value == "" or kind in ("", "code", "name"):
        shown = {"code": f"`{value}`", "name": NAMES.get(value, value)}
        return shown.get(kind, value) if value else ""
    if kind == "seeds":
        return ", ".join(_show(seed, "percent").removesuffix(" %") for seed in value.split())
    number = float(value)
    return {
        "percent": f"{100 * number:.2f} %",
        "share": f"{100 * number:.0f} %",
        "points": f"{100 * number:+.1f}",
        "x": f"{number:.2f}x",
        "millions": f"{number / 1e6:.2f} M",
        "billions": f"{number / 1e9:.3f}",
        "digits": f"{number:#.3g}".rstrip("."),
    }.get(kind) or format(number, kind)


def read_rows(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a CSV file by their first distinguishing column.

    Args:
        path: what ``study``, ``bench`` or ``data-bench`` wrote.
    """
    with open(path, newline="") as file:
        records = list(csv.DictReader(file))
    rows: dict[str, dict[str, str]] = {}
    for number, record in enumerate(records):
        if "method" in record:  # of bench
            row = rows.setdefault(record["method"], {"method": record["method"]})
            batch, runtime = record["batch_size"], record.get("runtime", "jax")
            first = "" if runtime == "jax" else f"{runtime}_"
            row |= {f"{first}{name}_batch_{batch}": value for name, value in record.items()}
            for end in ("low", "high"):
                row[f"{first}speedup_batch_{batch}_{end}"] = record[f"speedup_{end}"]
            row |= {n: record[n] for n in ("macs", "mac_ratio", "params") if n in record}
        else:
            rows[record.get("variant", str(number))] = record
    return rows


def make_table(description: str, root: Path = ROOT) -> str:
    """The lines of a table, as Markdown.

    Args:
        description: what stands in the table's first comment.
        root: the folder that the files' names start from.

    Raises:
        ValueError: the description is incomplete, or names a file, row or column that is not there.
    """
    names, *lines = description.strip().splitlines()
    picked = [line.removeprefix("rows:") for line in lines if line.startswith("rows:")]
    lines = [line for line in lines if line.startswith("|")]
    if len(lines) != 2:
        raise ValueError("the comment needs two lines that begin with |: a heading and a row")
    heading, template = lines
    try:
        files = {Path(name).stem: read_rows(root / name) for name in names.split()}
        first = next(iter(files.values()))
        keys = [key.strip() for key in picked[0].split(",")] if picked else list(first)
        made = []
        for key in keys:
            values = {
                stem: {column: Value(rows[key], column) for column in rows[key]}
                for stem, rows in files.items()
            }
            spaces = {stem: SimpleNamespace(**columns) for stem, columns in values.items()}
            row = template.format(**(spaces if len(files) > 1 else values.popitem()[1]))
            made.append(re.sub(r" +\|", " |", re.sub(r" \(\)|\(1\.00x\)", "", row)))
    except (AttributeError, KeyError, OSError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    ruler = "|" + "---|" * (heading.count("|") - 1)
    return "\n".join((heading, ruler, *made)) + "\n"


def renew(text: str, root: Path = ROOT) -> str:
    """``text`` of a document with every table as its CSV file has it."""
    return TABLE.sub(lambda found: f"{found[1]}{make_table(found[2], root)}{found[4]}", text)


def documents(root: Path = ROOT) -> list[Path]:
    """README and the pages of docs."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def _difference(old: str, new: str) -> str:
    for number, (one, other) in enumerate(zip(old.splitlines(), new.splitlines(), strict=False), 1):
        if one != other:
            return f"{number}:\n  is        {one}\n  should be {other}"
    return "1: a row too many or too few"


def unfounded(root: Path = ROOT) -> list[str]:
    """A line for each CSV file of results/ whose environment lacks the commit or the command."""
    found = []
    for path in sorted((root / "results").glob("*.csv")):
        record = path.with_suffix(".env.json")
        held = json.loads(record.read_text()) if record.exists() else {}
        lacking = [name for name in ("command", "commit") if not held.get(name)]
        if lacking:
            found.append(f"results/{path.name}: no {' and no '.join(lacking)} in {record.name}")
    return found


def main(root: Path = ROOT) -> int:
    """Runs the program; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("check", "write"))
    what = parser.parse_args().what
    status = count = 0
    for path in documents(root):
        old = path.read_text()
        count += len(TABLE.findall(old))
        try:
            if old.count("<!-- table ") != len(TABLE.findall(old)):
                raise ValueError("a table has no <!-- end of table -->")
            new = renew(old, root)
        except ValueError as error:
            print(f"{path.relative_to(root)}: {error}", file=sys.stderr)
            status = 1
            continue
        if new != old and what == "write":
            path.write_text(new)
            print(f"renewed {path.relative_to(root)}")
        elif new != old:
            print(f"{path.relative_to(root)}:{_difference(old, new)}", file=sys.stderr)
            status = 1
    for complaint in unfounded(root):
        print(complaint, file=sys.stderr)
        status = 1
    print(f"{count} tables from results/ " + ("compared" if what == "check" else "are up to date"))
    return status


if __name__ == "__main__":
    sys.exit(main())
