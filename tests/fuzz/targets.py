"""What is fuzzed: each reader of files, with whole files to begin from.

A target imports its reader when it is made, so that the reader can be instrumented, and writes only
into the folder that it is given. Its ``check`` takes the content of a file; it returns where that
was read or refused as promised, and raises all else.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import struct
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Check = Callable[[bytes], None]


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        seeds: whole files.
        check: tries the content of one.
        repair: puts the checksums in it right, so that what lies behind them is reached too.
    """

    seeds: list[bytes]
    check: Check
    repair: Callable[[bytes], bytes] | None = None

    def try_(self, data: bytes) -> None:
        """Checks the data, and once more with right checksums."""
        self.check(data)
        if self.repair is not None:
            self.check(self.repair(data))


@contextlib.contextmanager
def _refused(*kinds: type[Exception]):
    """Lets through what a reader raises by contract, if it is one line."""
    try:
        yield
    except kinds as error:
        assert "\n" not in str(error), str(error)


def manifest(folder: Path) -> Target:
    from wae_jax.checkpoints import manifest

    step = folder / "1"
    for item in manifest.ITEMS:
        (step / item).mkdir(parents=True)
        (step / item / "data").write_text(item)
    manifest.write(step)
    whole = (step / manifest.MANIFEST).read_bytes()
    right = json.loads(whole)

    def check(data: bytes) -> None:
        (step / manifest.MANIFEST).write_bytes(data)
        problem = manifest.problem_with(step)
        assert "\n" not in problem, problem
        if not problem:
            assert json.loads(data).items() <= right.items()

    return Target([whole, json.dumps(right).encode()], check)


def meta(folder: Path) -> Target:
    from tests.checkpoints.conftest import META, make_state
    from wae_jax.checkpoints import store
    from wae_jax.config import as_dict, default_config, settings_from_config
    from wae_jax.errors import UserError

    settings = as_dict(settings_from_config(default_config()))
    step = store.save(folder, make_state(1), META | {"config": settings}, keep=1)
    file = step / "meta" / "metadata"
    whole = file.read_bytes()

    def check(data: bytes) -> None:
        file.write_bytes(data)
        with _refused(UserError):
            assert store.read_meta(step)["format"] == 1

    few = {**json.loads(whole), "config": {}}
    return Target([whole, json.dumps(few).encode()], check)


_ARRAYS = {
    "conv/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "conv/bias": np.zeros(3, np.float32),
    "step": np.array(7, np.int32),
    "none": np.zeros((0, 3), np.float16),
}


def _reader(path: Path, read) -> Check:
    from wae_jax.errors import UserError

    def check(data: bytes) -> None:
        path.write_bytes(data)
        with _refused(UserError):
            read(path)

    return check


def safetensors(folder: Path) -> Target:
    import safetensors.numpy

    from wae_jax.pretrained.files import read_arrays

    small = {"a": np.ones(2, np.float32)}
    seeds = [safetensors.numpy.save(arrays) for arrays in (_ARRAYS, small)]
    return Target(seeds, _reader(folder / "w.safetensors", read_arrays))


_LAYERS = {"config": {"layers": [{"config": {"name": "conv", "epsilon": 0.001}}]}}


def h5(folder: Path) -> Target:
    import h5py

    from wae_jax.pretrained import h5
    from wae_jax.pretrained.files import read_keras

    h5.TRIAL_S = 4.0
    seeds = []
    for options in ({}, {"chunks": True, "compression": "gzip", "shuffle": True}):
        content = io.BytesIO()
        with h5py.File(content, "w") as file:
            for name in ("conv/kernel", "conv/bias"):
                file.create_dataset(f"model_weights/conv/{name}:0", data=_ARRAYS[name], **options)
            file.attrs["model_config"] = json.dumps(_LAYERS)
        seeds.append(content.getvalue())
    return Target(seeds, _reader(folder / "w.h5", read_keras))


def layers_model(folder: Path) -> Target:
    from wae_jax.pretrained.files import read_keras

    (folder / "a.bin").write_bytes(bytes(60))
    (folder / "b.bin").write_bytes(bytes(36))
    weights = [
        {"name": "conv/kernel", "shape": [2, 3, 3], "dtype": "float32"},
        {"name": "conv/bias", "shape": [6], "dtype": "float32"},
    ]
    groups = [{"paths": ["a.bin", "b.bin"], "weights": weights}]
    content = {"modelTopology": {"model_config": _LAYERS}, "weightsManifest": groups}
    return Target([json.dumps(content).encode()], _reader(folder / "model.json", read_keras))


def caffemodel(folder: Path) -> Target:
    from wae_jax.pretrained import caffemodel

    make = caffemodel._net_parameter_class()
    new, old = make(), make()
    layer = new.layers.add(name=b"conv1")
    blob = layer.blobs.add(data=[bytes(24)])
    blob.shape.dim.extend([2, 3])
    layer.blobs.add(double_data=[bytes(16)]).shape.dim.append(2)
    blob = old.old_layers.add(name=b"fc").blobs.add(data=[bytes(8)])
    blob.num, blob.channels, blob.height, blob.width = 1, 1, 1, 2
    seeds = [net.SerializeToString() for net in (new, old)]
    return Target(seeds, _reader(folder / "w.caffemodel", caffemodel.read_caffemodel))


def tfrecord(folder: Path) -> Target:
    from wae_jax.data.prepare import tfrecord

    def framed(payload: bytes) -> bytes:
        length = struct.pack("<Q", len(payload))
        crcs = (struct.pack("<I", tfrecord._masked_crc(part)) for part in (length, payload))
        return length + next(crcs) + payload + next(crcs)

    def repair(data: bytes) -> bytes:
        fixed, at = bytearray(data), 0
        while at + 12 <= len(fixed):
            length = fixed[at : at + 8]
            fixed[at + 8 : at + 12] = struct.pack("<I", tfrecord._masked_crc(bytes(length)))
            end = at + 12 + int.from_bytes(length, "little")
            if end + 4 > len(fixed):
                break
            crc = tfrecord._masked_crc(bytes(fixed[at + 12 : end]))
            fixed[end : end + 4] = struct.pack("<I", crc)
            at = end + 4
        return bytes(fixed)

    seeds = [b"".join(map(framed, payloads)) for payloads in ([b"a photo", b"", b"b" * 70], [b"c"])]
    read = _reader(folder / "x.tfrecord", lambda path: list(tfrecord.read_tfrecords(path)))
    return Target(seeds, read, repair)


_USTAR = slice(257, 262)


def _tar(members: dict[str, bytes], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode, format=form) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return content.getvalue()


def _right_checksums(data: bytes) -> bytes:
    """Of all blocks of a tar that look like headers."""
    fixed = bytearray(data)
    for at in range(0, len(fixed) - 511, 512):
        if fixed[at:][_USTAR] == b"ustar":
            fixed[at + 148 : at + 156] = b" " * 8
            fixed[at + 148 : at + 156] = b"%06o\0 " % sum(fixed[at : at + 512])
    return bytes(fixed)


def tar(folder: Path) -> Target:
    from wae_jax.data.prepare import tars
    from wae_jax.errors import UserError

    path = folder / "x.tar"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        with _refused(UserError):
            for member in tars.list_tar(path)[:3]:
                assert 0 <= member.offset <= member.offset + member.size <= len(data)
                with _refused(UserError):
                    tars.list_tar(path, within=member)

    inner = _tar({"n01_1.JPEG": b"photo", "n01_2.JPEG": b""})
    odd = {"é" * 60: b"1", ".hidden": b"2", "x" * 160: b"3"}
    forms = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    seeds = [_tar({"n01.tar": inner, "n02.tar": inner}, form=form) for form in forms]
    return Target([*seeds, _tar(odd), _tar(odd, form=forms[1])], check, _right_checksums)


def grocery(folder: Path) -> Target:
    from wae_jax.data.sources import grocery

    texts = {name: b"" for name in grocery.LISTS.values()}
    texts |= {grocery.CLASSES: b"class,number\napple,0\n", "train.txt": b"train/a.jpg, 0, 0\n"}
    members = texts | {"train/a.jpg": b"photo"}
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in members.items()}
    right = grocery.Manifest(
        texts={path: hashes[path] for path in texts},
        checks=bytes.fromhex(hashes["train/a.jpg"])[:3],
        digest=grocery.digest_of(hashes),
    )
    files = {f"dataset/{path}": content for path, content in members.items()}
    seeds = [_tar(files, mode) for mode in ("w", "w:gz", "w:bz2", "w:xz")]

    def read(path: Path) -> None:
        assert grocery.read(path, right, "the archive") == members

    return Target(seeds, _reader(folder / "grocery", read), _right_checksums)


def image(folder: Path) -> Target:
    import PIL.Image

    from wae_jax.data.images import decode

    reading = decode.Reading(max_pixels=1 << 22)

    def check(data: bytes) -> None:
        with _refused(decode.DecodeError):
            found = decode.EncodedImage(data, reading)
            height, width, _ = found.shape
            half = found.turn.stored_box((0, 0, max(1, height // 2), width), found.shape)
            found.region(half, (4, 4), fast=True)
            whole = np.asarray(found)
            assert whole.dtype == np.uint8 and whole.shape == found.shape

    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    picture = PIL.Image.fromarray(noise)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # orientation
    seeds = []
    for mode, form, options in (
        ("RGB", "JPEG", {"exif": exif}),
        ("L", "JPEG", {"progressive": True}),
        ("CMYK", "JPEG", {}),
        ("RGB", "JPEG", {"restart_marker_rows": 1}),
        ("RGB", "PNG", {"exif": exif}),
        ("P", "PNG", {}),
        ("I;16", "PNG", {}),
        ("RGB", "WEBP", {}),
        ("P", "GIF", {}),
        ("RGB", "BMP", {}),
        ("RGB", "TIFF", {}),
        ("L", "TIFF", {"compression": "tiff_lzw"}),
    ):
        content = io.BytesIO()
        converted = picture.convert("L").convert("I").convert(mode) if ";" in mode else None
        (converted or picture.convert(mode)).save(content, form, **options)
        seeds.append(content.getvalue())
    return Target(seeds, check)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "manifest": manifest,
    "meta": meta,
    "safetensors": safetensors,
    "h5": h5,
    "layers_model": layers_model,
    "caffemodel": caffemodel,
    "tfrecord": tfrecord,
    "tar": tar,
    "grocery": grocery,
    "image": image,
}


def _broken(fail: Callable[[], object]) -> Callable[[Path], Target]:
    def check(data: bytes) -> None:
        if data[:1] > b"\x80":
            fail()

    return lambda folder: Target([b"a", b"\x00\x01"], check)


# What the fuzzers must find, to be sure of them.
BROKEN: dict[str, Callable[[Path], Target]] = {
    "raises": _broken(lambda: {}["a key"]),
    "hangs": _broken(lambda: time.sleep(1000)),
    "grows": _broken(lambda: bytes(2 << 30)),
}
