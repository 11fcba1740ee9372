"""What counts as a sound checkpoint."""

import json
import shutil

import pytest

from wae_jax.checkpoints import folders, manifest
from wae_jax.errors import UserError

HASH = "0" * 64
# No manifest of a checkpoint, though each is a file that might be taken for one.
WRONG = {
    "nothing": "",
    "no JSON": "{",
    "no text": b"\xff\xfe\x00",
    "empty object": "{}",
    "empty list": "[]",
    "list of names": '["variables/_METADATA"]',
    "null": "null",
    "number": "1",
    "string": '"variables"',
    "too deep": "[" * 100_000,
    "huge number": "1" * 10_000,
    "no hashes": '{"variables/a": 1, "training/a": null, "meta/a": []}',
    "short hashes": '{"variables/a": "0", "training/a": "0", "meta/a": "0"}',
    "one item only": json.dumps({"variables/a": HASH}),
    "other files": json.dumps({"config.json": HASH, "a/b": HASH}),
    "files elsewhere": json.dumps(
        {f"{item}/../../../config.json": HASH for item in manifest.ITEMS}
        | {"/etc/hostname": HASH, "a\0b": HASH}
    ),
}


@pytest.fixture(scope="module")
def sound(save_step, tmp_path_factory):
    return save_step(tmp_path_factory.mktemp("run"), 3)


@pytest.mark.parametrize("wrong", WRONG)
def test_another_form_of_manifest_never_verifies(wrong, sound, tmp_path):
    step = shutil.copytree(sound, tmp_path / "checkpoints" / "3")
    assert not manifest.problem_with(step)
    text = WRONG[wrong]
    (step / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert "\n" not in manifest.problem_with(step, cached=True) != ""
    for path in (tmp_path, step):
        with pytest.raises(UserError, match=str(path)):
            folders.find(str(path))
    assert folders.newest_good(step.parent) is None


@pytest.mark.parametrize("item", manifest.ITEMS)
def test_a_manifest_must_speak_of_every_item(item, sound, tmp_path):
    step = shutil.copytree(sound, tmp_path / "3")
    hashes = json.loads((step / "manifest.json").read_text())
    rest = {name: sha256 for name, sha256 in hashes.items() if not name.startswith(f"{item}/")}
    assert len(rest) < len(hashes)
    (step / "manifest.json").write_text(json.dumps(rest))
    assert item in manifest.problem_with(step)


def test_a_manifest_that_is_a_folder(sound, tmp_path):
    step = shutil.copytree(sound, tmp_path / "3")
    (step / "manifest.json").unlink()
    (step / "manifest.json").mkdir()
    assert "unreadable" in manifest.problem_with(step)


@pytest.mark.parametrize("cached", [False, True])
def test_a_changed_file_is_seen_and_a_mended_one_too(cached, sound, flip_a_byte, tmp_path):
    step = shutil.copytree(sound, tmp_path / "3")
    assert not manifest.problem_with(step, cached=cached)
    victim = flip_a_byte(step)
    name = victim.relative_to(step).as_posix()
    for _ in range(2):
        assert manifest.problem_with(step, cached=cached) == f"damaged or missing: {name}"
    flip_a_byte(step)
    assert not manifest.problem_with(step, cached=cached)
    victim.unlink()
    assert name in manifest.problem_with(step, cached=cached)


def test_only_with_cached_are_unchanged_files_not_hashed_again(sound, monkeypatch):
    assert not manifest.problem_with(sound)
    hashed = []
    real = manifest.files.sha256_of
    monkeypatch.setattr(
        manifest.files, "sha256_of", lambda path: (hashed.append(path), real(path))[1]
    )
    assert not manifest.problem_with(sound, cached=True)
    assert not hashed
    assert not manifest.problem_with(sound)
    assert hashed


def test_a_run_hashes_each_of_its_checkpoints_once(save_step, tmp_path, monkeypatch):
    hashed = []
    real = manifest.files.sha256_of
    monkeypatch.setattr(
        manifest.files, "sha256_of", lambda path: (hashed.append(path), real(path))[1]
    )
    for step in (1, 2, 3, 4):
        save_step(tmp_path, step, keep=3)
    assert len(hashed) == len(set(hashed)) > 20
