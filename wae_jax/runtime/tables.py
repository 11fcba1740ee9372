"""Tables for people (Markdown) and for other programs (CSV with its environment)."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wae_jax.runtime.files import write_atomically


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table.

    Args:
        lines: cells; the first line has the headings. Columns after the first align right.
    """
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(lines[0]))]

    def show(cells: Sequence[str]) -> str:
        aligned = [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |"

    rule = ["-" * (width - 1) + ("-" if i == 0 else ":") for i, width in enumerate(widths)]
    return "\n".join([show(lines[0]), show(rule), *map(show, lines[1:])])


def write_csv(
    path: Path, rows: Sequence[Mapping[str, Any]], environment: Mapping[str, Any]
) -> None:
    """Writes rows with the keys of the first as columns, and ``NAME.env.json`` beside the file.

    Args:
        path: NAME.csv. rows: at least one.
        environment: what the figures were measured with.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())
    write_atomically(path.with_suffix(".env.json"), json.dumps(environment, indent=1) + "\n")
