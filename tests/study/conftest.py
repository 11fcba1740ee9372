"""Records of runs that nobody trained."""

import pytest

from tests.study.made_up import RIGHT, chosen_of, make_run


@pytest.fixture(scope="session")
def run_of():
    """Factory of records: ``run_of(variant, seed, right=(N,) bool, **fields)``."""
    return make_run


@pytest.fixture
def chosen():
    """Five variants, one run each."""
    return chosen_of(RIGHT)
