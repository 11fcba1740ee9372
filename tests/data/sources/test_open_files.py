"""How many shards are open at a time, and what becomes of one that cannot be opened."""

import concurrent.futures
import contextlib
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

import wae_jax.data
from wae_jax.data import DecodedRecords, decode, make_eval_loader, make_transform
from wae_jax.data.bad import BadRecordError
from wae_jax.data.prepare.examples import serialize
from wae_jax.data.sources.array_record import ArrayRecordSource, Shard
from wae_jax.data.sources.base import SourceInfo
from wae_jax.data.sources.open_files import OpenFiles
from wae_jax.errors import UserError

from ..conftest import image_index, index_image, png

SHARDS = 60


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Files 0 .. 59 of one record each: an image that tells its number."""
    folder = tmp_path_factory.mktemp("shards")
    for i in range(SHARDS):
        writer = ArrayRecordWriter(str(folder / str(i)), "group_size:1")
        writer.write(serialize(png(index_image(i)), i % 5, b"name"))
        writer.close()
    return folder


def make_source(directory, limit=None, shards=SHARDS):
    info = SourceInfo("many", "train", 5, None, shards, None)
    source = ArrayRecordSource(info, directory, tuple(Shard(str(i), 0, 1) for i in range(shards)))
    if limit:
        source._files = OpenFiles(limit)
    return source


def open_now(directory) -> int:
    """How many of this process's open files are in the folder."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found += Path(os.readlink(link)).parent == directory
    return found


def run(script: str, *arguments) -> str:
    """What a program of its own prints, in which this module is `data.sources.test_open_files`."""
    paths = (str(Path(__file__).parents[2]), str(Path(wae_jax.data.__file__).parents[2]))
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_more_are_open_than_the_limit(directory):
    source, most = make_source(directory, limit=5), 0
    for i in np.random.default_rng(0).integers(0, SHARDS, 200):
        ((image, label),) = source.read([i])
        assert (image_index(decode(image)), label) == (i, i % 5)
        most = max(most, open_now(directory))
    assert most == 5


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_threads_share_them(directory, limit):
    """More threads than files: each still reads what it asked for."""
    source, most = make_source(directory, limit), []

    def read(seed):
        for i in np.random.default_rng(seed).integers(0, SHARDS, 100):
            ((image, _),) = source.read([i])
            assert image_index(decode(image)) == i
            with source._files._changed:  # so that none is opened or closed while they are counted
                most.append(open_now(directory))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8), timeout=60))
    assert 1 <= max(most) <= min(limit, SHARDS)


def test_one_in_use_stays_open(directory):
    files, done = OpenFiles(1), threading.Event()

    def other():
        with files.borrow(directory / "1"):
            done.set()

    with files.borrow(directory / "0") as reader:
        thread = threading.Thread(target=other)
        thread.start()
        assert not done.wait(0.2)
        assert reader.read([0])
    thread.join(10)
    assert done.is_set() and not reader.is_open()


def test_the_one_used_last_stays(directory):
    files = OpenFiles(2)
    readers = []
    for name in ("0", "1", "0", "2"):
        with files.borrow(directory / name) as reader:
            readers.append(reader)
    assert [reader.is_open() for reader in readers] == [True, False, True, True]


def test_copies_have_files_of_their_own(directory):
    source = make_source(directory)
    records = source.read(range(SHARDS))
    assert open_now(directory) == SHARDS
    copy = pickle.loads(pickle.dumps(source))
    assert copy.read([7]) == [records[7]]
    assert open_now(directory) == SHARDS + 1


FORK = """
import os, sys
from data.sources import test_open_files as tests

directory = tests.Path(sys.argv[1])
source = tests.make_source(directory)

def child():
    pid = os.fork()
    if pid:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        return
    try:
        print(len(source.read(range(10))), flush=True)
    except tests.UserError as error:
        print(error, flush=True)
    os._exit(0)

child()
records = source.read(range(tests.SHARDS))
held, done = tests.threading.Event(), tests.threading.Event()

def hold():  # this thread is not in the child, its lock is
    with source._files._changed:
        held.set()
        done.wait()

thread = tests.threading.Thread(target=hold)
thread.start()
held.wait()
child()
done.set()
thread.join()
print(source.read(range(tests.SHARDS)) == records)
"""


def test_a_child_reads_only_where_its_parent_has_not(directory):
    """After a fork ArrayRecord's library may wait for ever, so that we end at once."""
    assert run(FORK, directory).splitlines() == [
        "10",
        "cannot read ArrayRecord files in a process forked from one that has read some: start it "
        'by multiprocessing\'s "spawn" or "forkserver"',
        "True",
    ]


def test_a_damaged_file_is_bad_records(directory, tmp_path):
    (tmp_path / "0").write_bytes((directory / "0").read_bytes())
    (tmp_path / "1").write_bytes(b"x" * 200_000)
    source = make_source(tmp_path, shards=2)
    assert len(source.read([0])) == 1
    with pytest.raises(BadRecordError):
        source.read([1])


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_a_file_that_vanished_is_an_error_of_its_own(directory, tmp_path, policy):
    (tmp_path / "0").write_bytes((directory / "0").read_bytes())
    records = DecodedRecords(make_source(tmp_path, shards=2))
    loader = make_eval_loader(
        records, make_transform("small", 8, False), batch_size=2, bad_records=policy
    )
    with pytest.raises(UserError, match=f"^cannot open {tmp_path}/1: No such file or directory"):
        list(loader)


LOW_LIMIT = """
import os, resource, sys
from data.sources import test_open_files as tests
from wae_jax.data import open_source
from wae_jax.errors import UserError

directory, photos = tests.Path(sys.argv[1]), sys.argv[2]
source, folder = tests.make_source(directory), open_source("folder", "train", data_dir=photos)
now = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (now + 24, now + 24))
source = tests.pickle.loads(tests.pickle.dumps(source))  # as in a worker
loader = tests.make_eval_loader(
    tests.DecodedRecords(source), tests.make_transform("small", 8, False), batch_size=8, threads=4
)
images = [image for batch in loader for image in batch["image"][batch["mask"] > 0]]
assert [tests.image_index(image) for image in images] == list(range(tests.SHARDS))
print(f"read all, {tests.open_now(directory)} open")
taken = []
try:
    while True:
        taken.append(open("/dev/null"))
except OSError:
    pass
for reader in (tests.make_source(directory), folder):
    try:
        reader.read([0])
    except UserError as error:
        print(error)
"""


def test_where_the_system_allows_few(directory, tmp_path):
    """A process that may open fewer files than there are shards; then none at all."""
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "1.png").write_bytes(png(index_image(1)))
    first, *errors = run(LOW_LIMIT, directory, tmp_path).splitlines()
    assert first.startswith("read all, ") and 1 <= int(first.split()[2]) <= 24
    assert errors == [
        f"cannot open {directory}/0: Too many open files",
        f"cannot open {tmp_path}/train/a/1.png: Too many open files",
    ]
