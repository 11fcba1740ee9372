"""Tables of results/, and the text of documents."""

import pytest

from tools import tables


@pytest.fixture
def rows(root):
    """Function: name of a file in results/ -> its rows, by variant or method."""
    return lambda name: tables.read_rows(root / "results" / f"{name}.csv")


@pytest.fixture
def page(root):
    """Function: path of a document -> its text on one line."""
    return lambda path: " ".join((root / path).read_text().split())


def number(row, column):
    return float(row[column])


def span(values):
    """``LEAST to MOST`` in percent."""
    return f"{100 * min(values):.0f} to {100 * max(values):.0f} %"
