import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import wae_jax.data
from wae_jax.data import (
    DecodedRecords,
    ImageNetTrain,
    SmallEval,
    SmallTrain,
    check_resume,
    decode,
    make_eval_loader,
    make_train_loader,
    make_transform,
    open_source,
)
from wae_jax.errors import UserError

from ..conftest import image_index, make_builder

TRAIN = SmallTrain(8, pad=2)


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys() == {"image", "label", "mask"}
        for key, value in batch.items():
            assert value.dtype == other[key].dtype
            np.testing.assert_array_equal(value, other[key])


def train_batches(source, count, transform=TRAIN, **options):
    options = {"batch_size": 8, "seed": 3, "num_batches": count} | options
    with make_train_loader(DecodedRecords(source), transform, **options) as loader:
        return list(loader)


def records_of(batches):
    """Record numbers in order, without the padding."""
    return [
        image_index(image)
        for batch in batches
        for image, mask in zip(batch["image"], batch["mask"], strict=True)
        if mask
    ]


def test_batches(tiny_train):
    batches = train_batches(tiny_train, 3)
    assert len(batches) == 3
    for batch in batches:
        assert batch["image"].shape == (8, 8, 8, 3) and batch["image"].dtype == np.uint8
        assert batch["label"].shape == (8,) and batch["label"].dtype == np.int32
        assert batch["mask"].dtype == np.float32
        np.testing.assert_array_equal(batch["mask"], np.ones(8))
        records = [image_index(image) for image in batch["image"]]
        np.testing.assert_array_equal(batch["label"], np.array(records) % 5)


def test_every_epoch_has_every_record_once(tiny_train):
    records = records_of(train_batches(tiny_train, 20))
    epochs = [records[i : i + 53] for i in range(0, 159, 53)]
    assert all(sorted(epoch) == list(range(53)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_batch_larger_than_the_data_set(tiny_test):
    records = records_of(train_batches(tiny_test, 1, batch_size=55))
    assert all(sorted(records[i : i + 11]) == list(range(11)) for i in range(0, 55, 11))


def test_seed_decides(tiny_train):
    assert_same(train_batches(tiny_train, 4), train_batches(tiny_train, 4))
    assert records_of(train_batches(tiny_train, 4)) != records_of(
        train_batches(tiny_train, 4, seed=4)
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_augmentation_differs_between_epochs(threads):
    """The same photo is cropped differently next time, and the same way in a second run."""
    source = open_source("foolbox_photos", "train")
    options = {"batch_size": 20, "threads": threads}
    first, second = train_batches(source, 2, ImageNetTrain(32), **options)
    assert sorted(first["label"]) == sorted(second["label"])
    unique = np.unique(np.concatenate([first["image"], second["image"]]), axis=0)
    assert len(unique) == 40
    assert_same([first, second], train_batches(source, 2, ImageNetTrain(32), batch_size=20))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_resume_is_exact(tiny_train, workers):
    everything = train_batches(tiny_train, 12)
    step = int(np.random.default_rng().integers(1, 11))
    with make_train_loader(
        DecodedRecords(tiny_train), TRAIN, batch_size=8, seed=3, workers=workers
    ) as loader:
        before = [next(loader) for _ in range(step)]
        time.sleep(0.1)  # let it prefetch: the state must not count that
        state = json.loads(json.dumps(loader.state()))
    assert state["next_batch"] == step
    assert_same(before, everything[:step])
    with make_train_loader(
        DecodedRecords(tiny_train),
        TRAIN,
        batch_size=8,
        seed=3,
        start_batch=state["next_batch"],
        num_batches=12 - step,
    ) as loader:
        check_resume(state, loader)
        assert_same(list(loader), everything[step:])
        assert loader.state()["next_batch"] == 12


def test_check_resume(tiny_train, tiny_test):
    with make_train_loader(DecodedRecords(tiny_train), TRAIN, batch_size=8, seed=3) as loader:
        state = loader.state()
    assert state == {
        "next_batch": 0,
        "seed": 3,
        "batch_size": 8,
        "num_examples": 53,
        "source": "tiny",
        "split": "train",
    }
    for source, changed, message in (
        (tiny_train, {"seed": 4}, "seed was 3 and is 4"),
        (tiny_train, {"batch_size": 16}, "batch_size was 8 and is 16"),
        (tiny_test, {}, "num_examples was 53 and is 11; split was 'train' and is 'test'"),
    ):
        options = {"batch_size": 8, "seed": 3} | changed
        with (
            make_train_loader(DecodedRecords(source), TRAIN, **options) as loader,
            pytest.raises(UserError, match=message),
        ):
            check_resume(state, loader)
    with make_train_loader(DecodedRecords(tiny_train), TRAIN, batch_size=8, seed=3) as loader:
        check_resume(state, loader)
        with pytest.raises(UserError, match="seed was None"):
            check_resume({"next_batch": 0}, loader)


@pytest.mark.parametrize("process_count", [1, 2, 4])
def test_processes_share_each_batch(tiny_train, process_count):
    parts = [
        train_batches(tiny_train, 8, process_index=i, process_count=process_count)
        for i in range(process_count)
    ]
    together = [
        {key: np.concatenate([part[key] for part in step]) for key in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert_same(together, train_batches(tiny_train, 8))


def test_uneven_batch_is_refused(tiny_train):
    for make in (make_train_loader, make_eval_loader):
        with pytest.raises(UserError, match="multiple of the 3"):
            make(
                DecodedRecords(tiny_train),
                TRAIN,
                batch_size=8,
                process_count=3,
                **({"seed": 0} if make is make_train_loader else {}),
            )


@pytest.mark.parametrize("process_count", [1, 2, 4])
@pytest.mark.parametrize("split", ["train", "test"])
def test_eval_sees_everything_once(tiny_dir, split, process_count):
    source = open_source("tiny", split, data_dir=tiny_dir)
    seen, lengths = [], set()
    for i in range(process_count):
        loader = make_eval_loader(
            DecodedRecords(source),
            SmallEval(8),
            batch_size=16,
            process_index=i,
            process_count=process_count,
        )
        batches = list(loader)
        lengths |= {len(loader), len(batches)}
        for batch in batches:
            assert batch["image"].shape == (16 // process_count, 8, 8, 3)
            padding = batch["mask"] == 0
            assert not batch["image"][padding].any() and not batch["label"][padding].any()
        seen += records_of(batches)
    assert lengths == {-(-len(source) // 16)}
    assert sorted(seen) == list(range(len(source)))


def test_eval_is_in_order_and_repeats(tiny_test):
    loader = make_eval_loader(DecodedRecords(tiny_test), SmallEval(8), batch_size=4)
    first = list(loader)
    assert records_of(first) == list(range(11))
    assert [batch["mask"].sum() for batch in first] == [4, 4, 3]
    next(iter(loader))  # a pass that is given up disturbs nothing
    assert_same(list(loader), first)


def test_loaders_share_decoded_images(tiny_dir, monkeypatch):
    """Over passes, epochs and both kinds of loaders: nothing is read or decoded twice."""
    decoded = []

    def counting(data, reading):
        decoded.append(data)
        return decode(data, reading)

    monkeypatch.setattr(wae_jax.data.pipeline.records, "decode", counting)
    records = DecodedRecords(open_source("tiny", "test", data_dir=tiny_dir))
    loader = make_eval_loader(records, SmallEval(8), batch_size=4, threads=1)
    first = list(loader)
    assert len(decoded) == len(set(decoded)) == 11
    monkeypatch.setattr(records.source, "read", None)
    assert_same(list(loader), first)
    assert_same(list(make_eval_loader(records, SmallEval(8), batch_size=4)), first)
    with make_train_loader(records, TRAIN, batch_size=8, seed=3, num_batches=4) as train_loader:
        assert len(list(train_loader)) == 4
    assert len(decoded) == 11


def test_eval_with_worker(tiny_test):
    options = {"batch_size": 4}
    assert_same(
        list(make_eval_loader(DecodedRecords(tiny_test), SmallEval(8), workers=1, **options)),
        list(make_eval_loader(DecodedRecords(tiny_test), SmallEval(8), **options)),
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_user_errors_reach_the_caller(tiny_train, workers):
    with make_train_loader(
        DecodedRecords(tiny_train), SmallTrain(32), batch_size=8, seed=0, workers=workers
    ) as loader:
        with pytest.raises(UserError, match="8 x 8 pixels where 32 x 32") as error:
            next(loader)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(8, 8, 3), (None, None, 3)])
def test_damaged_record_is_named(tmp_path, shape):
    builder = make_builder(tmp_path, {"train": 3}, shape=shape, encode=lambda image: b"damaged")
    builder.download_and_prepare()
    source = open_source("tiny", "train", data_dir=tmp_path)
    with (
        make_train_loader(DecodedRecords(source), TRAIN, batch_size=1, seed=0) as loader,
        pytest.raises(UserError, match=r"record \d of .*train\.array_record.*cannot be decoded"),
    ):
        next(loader)


def test_unlabelled_split_is_refused(tmp_path):
    make_builder(tmp_path, {"test": 3}, label=-1).download_and_prepare()
    source = open_source("tiny", "test", data_dir=tmp_path)
    with pytest.raises(UserError, match=r"its label -1 is none of 0\.\.4"):
        list(make_eval_loader(DecodedRecords(source), SmallEval(8), batch_size=2))


def test_images_of_unknown_size(tmp_path, tiny_train):
    """Without a static shape nothing is kept in memory, and the batches are the same."""
    make_builder(tmp_path, {"train": 53}, shape=(None, None, 3)).download_and_prepare()
    source = open_source("tiny", "train", data_dir=tmp_path)
    assert source.info.image_shape is None
    assert_same(train_batches(source, 10), train_batches(tiny_train, 10))


def test_workers_from_a_script(tiny_dir, tmp_path):
    """Outside pytest, in a script without absl: the flags Grain asks for are seen to."""
    script = tmp_path / "script.py"
    script.write_text(
        "from wae_jax.data import DecodedRecords, SmallTrain, make_train_loader, open_source\n"
        "if __name__ == '__main__':\n"
        f"    source = open_source('tiny', 'train', data_dir={str(tiny_dir)!r})\n"
        "    with make_train_loader(DecodedRecords(source), SmallTrain(8, pad=2), batch_size=8,\n"
        "                           seed=3, num_batches=4, workers=1) as loader:\n"
        "        print(sum(int(batch['image'].sum()) for batch in loader))\n"
    )
    root = str(Path(wae_jax.data.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    source = open_source("tiny", "train", data_dir=tiny_dir)
    expected = sum(int(batch["image"].sum()) for batch in train_batches(source, 4))
    assert done.stdout.split() == [str(expected)]


@pytest.mark.slow
def test_cifar10_is_fast(cifar_train):
    """Far below what it reaches, but enough to see a mistake."""
    with make_train_loader(
        DecodedRecords(cifar_train),
        make_transform("small", 32, True),
        batch_size=128,
        seed=0,
        num_batches=200,
    ) as loader:
        next(loader)
        start = time.process_time()
        images = sum(len(batch["label"]) for batch in loader)
        assert images / (time.process_time() - start) > 2000
