"""Which directory a path means, and which steps a run keeps."""

import logging
import shutil

import pytest

from tests.checkpoints.conftest import make_state
from wae_jax.checkpoints import folders, store
from wae_jax.errors import UserError


def kept(workdir) -> list[int]:
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir())


def test_a_workdir_may_have_any_name(save_step, tmp_path):
    for name in ("1", "20261124", "variables", "checkpoints", "run"):
        saved = save_step(tmp_path / name, 5)
        assert folders.find(str(tmp_path / name)) == saved, name


def test_so_may_a_step(save_step, tmp_path):
    moved = save_step(tmp_path / "run", 5).rename(tmp_path / "best")
    assert folders.find(str(moved)) == moved


def test_the_folder_of_the_steps_will_do(save_step, tmp_path):
    _, newest = save_step(tmp_path, 9), save_step(tmp_path, 10)
    assert folders.find(str(tmp_path / "checkpoints")) == newest


def test_names_that_only_look_like_numbers_are_no_steps(save_step, tmp_path):
    saved = save_step(tmp_path, 5)
    for name in ("²", "٣", "7.saving", "-8", "best"):
        shutil.copytree(saved, saved.with_name(name))
    assert folders.steps(saved.parent) == [saved]


def test_each_wrong_path_is_told_what_it_is(save_step, tmp_path):
    save_step(tmp_path / "runs" / "1", 5)
    save_step(tmp_path / "runs" / "2", 5)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "photos" / "7").mkdir(parents=True)
    (tmp_path / "young" / "checkpoints").mkdir(parents=True)
    unfinished = save_step(tmp_path / "killed", 5)
    (unfinished / "manifest.json").unlink()
    for name, words in {
        "nowhere": "no such directory",
        "file": "it is a file",
        "empty": "it is empty",
        "photos": "neither a folder checkpoints nor a checkpoint's files",
        "runs": "it holds the workdirs 1, 2; give a training workdir",
        "young": "has not saved any yet",
        "killed": "5: it was not finished",
        "killed/checkpoints": "5: it was not finished",
        "killed/checkpoints/5": "it was not finished",
    }.items():
        with pytest.raises(UserError) as error:
            folders.find(str(tmp_path / name))
        assert words in str(error.value) and str(tmp_path / name) in str(error.value)


def test_a_run_keeps_its_newest_steps(save_step, tmp_path):
    for step in (1, 2, 3, 4):
        save_step(tmp_path, step, keep=2)
    assert kept(tmp_path) == [3, 4]
    save_step(tmp_path, 5, keep=1)
    assert kept(tmp_path) == [5]


def test_a_damaged_step_pushes_no_good_one_out(save_step, flip_a_byte, tmp_path, caplog):
    for step in (1, 2, 3):
        flip = save_step(tmp_path, step, keep=2)
    assert kept(tmp_path) == [2, 3]
    flip_a_byte(flip)
    flip_a_byte(save_step(tmp_path, 4, keep=2))
    # The two that were saved last are damaged, and the run goes on from the third.
    assert folders.newest_good(tmp_path / "checkpoints").name == "2"
    caplog.clear()
    save_step(tmp_path, 5, keep=2)
    assert kept(tmp_path) == [2, 3, 4, 5]
    assert not caplog.records
    # Damaged ones go when enough newer ones are good, with a word.
    with caplog.at_level(logging.WARNING, "wae_jax"):
        save_step(tmp_path, 6, keep=2)
    assert kept(tmp_path) == [5, 6]
    assert [r.getMessage().split(": ")[0] for r in caplog.records] == [
        f"removing checkpoint {tmp_path / 'checkpoints' / step}" for step in ("4", "3")
    ]


def test_an_unfinished_step_pushes_no_good_one_out(save_step, tmp_path):
    for step in (1, 2):
        save_step(tmp_path, step, keep=2)
    for step in ("8", "9"):
        (tmp_path / "checkpoints" / step).mkdir()
    save_step(tmp_path, 3, keep=2)
    assert kept(tmp_path) == [2, 3, 8, 9]


def test_the_step_just_written_stays(save_step, tmp_path):
    for step in (8, 9):
        save_step(tmp_path, step)
    save_step(tmp_path, 3, keep=1)
    assert kept(tmp_path) == [3, 9]


@pytest.mark.parametrize("damage", ["flipped", "empty"])
def test_a_damaged_step_is_written_again(damage, save_step, flip_a_byte, tmp_path):
    save_step(tmp_path, 2)
    step = save_step(tmp_path, 3)
    if damage == "flipped":
        flip_a_byte(step)
    else:
        shutil.rmtree(step)
        step.mkdir()
    save_step(tmp_path, 3, keep=2)
    assert kept(tmp_path) == [2, 3]
    assert folders.newest_good(tmp_path / "checkpoints") == step


def test_until_it_is_whole_a_new_step_has_another_name(save_step, tmp_path, monkeypatch):
    """A run that is killed while it saves step 3 again leaves the old step 3 as it was."""
    old = save_step(tmp_path, 3)
    before = (old / "manifest.json").read_bytes()

    def killed(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folders.manifest, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            save_step(tmp_path, 3)
    assert folders.find(str(tmp_path)) == old
    assert (old / "manifest.json").read_bytes() == before
    assert len(list(old.parent.iterdir())) == 2
    folders.clean(tmp_path)
    assert kept(tmp_path) == [3]


def test_what_a_killed_save_left_does_not_hinder_the_next(save_step, tmp_path):
    for name in ("3.saving", "3.removing", "3.saving.orbax-checkpoint-tmp-5"):
        (tmp_path / "checkpoints" / name / "variables").mkdir(parents=True)
    saved = save_step(tmp_path, 3)
    assert folders.find(str(tmp_path)) == saved
    folders.clean(tmp_path)
    assert kept(tmp_path) == [3]


def test_the_best_step_stays_besides_the_newest(checkpoint_meta, tmp_path):
    for step in range(1, 6):
        store.save(
            tmp_path, make_state(step), checkpoint_meta, keep=2, best=2 if step > 2 else None
        )
    assert [step.name for step in folders.steps(tmp_path / "checkpoints")] == ["5", "4", "2"]
