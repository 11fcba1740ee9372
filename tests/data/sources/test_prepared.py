import pytest
import tensorflow_datasets as tfds

from wae_jax.data.sources import prepared
from wae_jax.errors import UserError

from ..conftest import make_builder


class Prepare:
    """Prepares `tiny` into a cache and counts how often it is built."""

    def __init__(self, cache):
        self.cache = cache
        self.builds = 0

    def __call__(self):
        return prepared.prepare(self.build, "tiny", "1.0.0", cache_dir=self.cache)

    def build(self, folder):
        self.builds += 1
        return make_builder(folder, {"train": 4})


@pytest.fixture
def prepare(tmp_path):
    return Prepare(tmp_path)


def test_finished_folder_is_used(prepare, capsys):
    folder = prepare()
    assert folder == prepare.cache / "tfds" / "tiny" / "1.0.0"
    assert prepare() == folder and prepare.builds == 1
    assert len(tfds.builder_from_directory(folder).as_data_source("train")) == 4
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("damage", ["no manifest", "no shard", "short shard", "empty"])
def test_half_prepared_folder_is_redone(prepare, damage):
    folder = prepare()
    shard = next(folder.glob("*array_record*"))
    if damage == "no manifest":
        (folder / "prepared.json").unlink()
    elif damage == "no shard":
        shard.unlink()
    elif damage == "short shard":
        shard.write_bytes(shard.read_bytes()[:-1])
    else:
        for path in folder.iterdir():
            path.unlink()
    assert not prepared.is_complete(folder)
    prepare()
    assert prepare.builds == 2
    assert prepared.is_complete(folder)


def test_failure_leaves_nothing_that_looks_whole(prepare):
    def fail(image):
        raise UserError("no network")

    def build(folder):
        return make_builder(folder, {"train": 4}, encode=fail)

    with pytest.raises(UserError, match="no network"):
        prepared.prepare(build, "tiny", "1.0.0", cache_dir=prepare.cache)
    assert not (prepare.cache / "tfds" / "tiny" / "1.0.0").exists()
    assert prepared.is_complete(prepare())
