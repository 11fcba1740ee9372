import base64
import hashlib
import io
import tarfile

import pytest
import tensorflow_datasets as tfds

from wae_jax.data.sources import fetch, grocery
from wae_jax.data.sources.grocery_photos import CHECKS
from wae_jax.errors import UserError

# An archive of two classes and three photos.
FILES = {
    "classes.csv": b"Class Name (str),Class ID (int),More\nPear,1,x\nKiwi,0,y\n",
    "train.txt": b"train/Fruit/Kiwi/Kiwi_001.jpg, 0, 5\ntrain/Fruit/Pear/Pear_001.jpg, 1, 7\n",
    "val.txt": b"val/Fruit/Pear/Pear_002.jpg, 1, 7\n",
    "test.txt": b"",
    "train/Fruit/Kiwi/Kiwi_001.jpg": b"first",
    "train/Fruit/Pear/Pear_001.jpg": b"second",
    "val/Fruit/Pear/Pear_002.jpg": b"third",
}
HASHES = {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}
MANIFEST = grocery.Manifest(
    texts={path: sha256 for path, sha256 in HASHES.items() if "/" not in path},
    checks=b"".join(bytes.fromhex(HASHES[path])[:3] for path in sorted(HASHES) if "/" in path),
    digest=grocery.digest_of(HASHES),
)


def make_tar(file, files, folder="dataset", mode="w", links=()):
    with tarfile.open(file, mode) as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(f"{folder}/{path}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name, target, kind in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            tar.addfile(entry)
    return file


def without(*paths):
    return {path: content for path, content in FILES.items() if path not in paths}


@pytest.mark.parametrize(
    "folder, mode", [("dataset", "w"), ("./dataset", "w:xz"), ("Repository-fc80/dataset", "w:gz")]
)
def test_reads_local_archives_and_the_repositorys(folder, mode, tmp_path):
    more = {"iconic-images-and-descriptions/Kiwi_Iconic.jpg": b"x", "README.md": b"y"}
    members = grocery.read(
        make_tar(tmp_path / "tar", FILES | more, folder, mode), MANIFEST, "the archive"
    )
    assert members == FILES
    assert grocery.class_names(members) == ["Kiwi", "Pear"]
    (photo,) = grocery.split_photos(members, "validation")
    assert (photo.name, photo.label) == ("Fruit/Pear/Pear_002.jpg", 1)
    assert photo.file.read() == b"third"
    assert [p.label for p in grocery.split_photos(members, "train")] == [0, 1]


@pytest.mark.parametrize("path", FILES)
def test_what_is_missing_or_wrong_is_named(path, tmp_path):
    lacking = make_tar(tmp_path / "lacking", without(path))
    with pytest.raises(UserError, match=f"^the archive lacks {path}, a file of"):
        grocery.read(lacking, MANIFEST, "the archive")
    changed = make_tar(tmp_path / "changed", FILES | {path: FILES[path] + b" "})
    with pytest.raises(UserError, match=f"^{path} in the archive is not the Grocery"):
        grocery.read(changed, MANIFEST, "the archive")


def test_the_digest_decides(tmp_path):
    """A photo may begin with the right 3 bytes of a hash."""
    other = grocery.Manifest(MANIFEST.texts, MANIFEST.checks, "0" * 64)
    with pytest.raises(UserError, match=r"^the photos in the archive are not"):
        grocery.read(make_tar(tmp_path / "tar", FILES), other, "the archive")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_and_foreign_paths_are_no_members(kind, tmp_path):
    path = "train/Fruit/Kiwi/Kiwi_001.jpg"
    (tmp_path / "secret").write_bytes(FILES[path])
    links = [(f"dataset/{path}", str(tmp_path / "secret"), kind)]
    outside = without(path) | {f"../../{path}": FILES[path], "../escaped.txt": b""}
    with pytest.raises(UserError, match=f"lacks {path}"):
        grocery.read(make_tar(tmp_path / "tar", outside, links=links), MANIFEST, "the archive")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["secret", "tar"]


@pytest.mark.parametrize(
    "damage, message",
    [
        ("no tar", r"^the archive cannot be read: "),
        ("cut header", r"^the archive cannot be read: "),
        ("cut short", r"^the archive lacks train\.txt"),
    ],
)
def test_damaged_archives_are_one_line(damage, message, tmp_path):
    file = make_tar(tmp_path / "tar", FILES, mode="w:gz")
    content = file.read_bytes()
    kept = {"no tar": b"nothing" * 99, "cut header": content[:3] * 2}
    file.write_bytes(kept.get(damage, content[: len(content) // 2]))
    with pytest.raises(UserError, match=message) as error:
        grocery.read(file, MANIFEST, "the archive")
    assert "\n" not in str(error.value)


@pytest.fixture
def internet(monkeypatch):
    """Answers for the repository: what it sends, or None where it cannot be reached."""
    answers = []

    def download(url, dest, *args, **kwargs):
        assert url == grocery.URL
        if answers[0] is None:
            raise UserError(f"cannot download {url} (no route)")
        return make_tar(dest, answers[0], "GroceryStoreDataset-fc80/dataset", "w:gz")

    monkeypatch.setattr(fetch, "download", download)
    monkeypatch.setattr(grocery, "MANIFEST", MANIFEST)
    return answers


def put_local(cache, files):
    (cache / "downloads").mkdir()
    return make_tar(cache / "downloads" / "grocery.tar", files)


def test_the_repository_comes_first(internet, tmp_path):
    internet.append(FILES)
    put_local(tmp_path, {})
    assert grocery.load(tmp_path) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["downloads"]


@pytest.mark.parametrize("sent", [None, {}, FILES | {"train.txt": b""}])
def test_a_local_archive_comes_second(sent, internet, tmp_path):
    internet.append(sent)
    put_local(tmp_path, FILES)
    assert grocery.load(tmp_path) == FILES


def test_without_both_one_line_says_what_to_do(internet, tmp_path):
    internet.append(None)
    with pytest.raises(UserError, match=r"cannot be had: cannot download .*no route") as error:
        grocery.prepare(tmp_path)
    message = str(error.value)
    assert str(tmp_path / "downloads" / "grocery.tar") in message and "\n" not in message
    assert not (tmp_path / "tfds" / "grocery" / "1.0.0").exists()


def test_a_wrong_local_archive_is_named_too(internet, tmp_path):
    internet.append(None)
    local = put_local(tmp_path, without("val.txt"))
    with pytest.raises(UserError, match=f"no route.*; nor .*: {local} lacks val.txt"):
        grocery.load(tmp_path)


def test_the_real_photos(grocery_split):
    checks = []
    for split, count, classes in (("train", 2640, 81), ("validation", 296, 60), ("test", 2485, 81)):
        source = grocery_split(split)
        records = source.read(range(len(source)))
        assert len(records) == source.info.num_examples == count
        assert source.info.num_classes == len(set(source.info.class_names)) == 81
        assert source.info.image_shape is None
        assert len({label for _, label in records}) == classes
        checks += [hashlib.sha256(photo).digest()[:3] for photo, _ in records]
    # Every photo, byte for byte.
    packed = base64.b64decode(CHECKS)
    assert sorted(checks) == sorted(packed[i : i + 3] for i in range(0, len(packed), 3))


def test_real_labels_are_those_of_the_folders(grocery_split):
    names = grocery_split("train").info.class_names
    builder = tfds.builder_from_directory(grocery.prepare())
    for split in ("validation", "test"):
        assert grocery_split(split).info.class_names == names
        skip = {"image": tfds.decode.SkipDecoding()}
        records = builder.as_data_source(split, decoders=skip)
        for record in records.__getitems__(range(len(records))):
            folder = record["file_name"].decode().split("/")[-2]
            assert names[record["label"]] == folder


@pytest.mark.parametrize("name", ["dataset/train/a.jpg", "README.md"])
def test_an_archive_that_claims_too_much_is_left_at_once(name, tmp_path):
    """Few bytes can unpack to any number, in memory or for hours."""
    entry = tarfile.TarInfo(name)
    entry.size = 1 << 40
    (tmp_path / "tar").write_bytes(entry.tobuf() + bytes(1024))
    with pytest.raises(UserError, match=r"^the archive is another: it claims more than 1024 MiB"):
        grocery.read(tmp_path / "tar", MANIFEST, "the archive")
