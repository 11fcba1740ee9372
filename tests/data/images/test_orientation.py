"""Photos that stand upright, as their Exif says, and sizes that are refused from the header."""

import io
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from wae_jax.data import (
    DecodeError,
    EncodedImage,
    ImageNetTrain,
    Reading,
    decode,
    make_transform,
    open_source,
    uniforms,
)
from wae_jax.data.images.orientation import TAG, TURNS, UPRIGHT, turn_of_jpeg, turn_of_png

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
AS_STORED = Reading(exif_orientation=False)


@pytest.fixture(scope="module")
def photos():
    """Real ones, Pillow's images, of 500 x 375 and a size that no block of JPEG divides."""
    source = open_source("photos_500x375", "train")
    photos = [PIL.Image.open(io.BytesIO(data)) for data, _ in source.read([3, 77])]
    return [photos[0], photos[1].crop((0, 0, 301, 333))]


def tagged(photo, kind, orientation):
    exif = PIL.Image.Exif()
    exif[TAG] = orientation
    file = io.BytesIO()
    photo.save(file, kind, exif=exif, quality=90, compress_level=1, method=0)
    return file.getvalue()


def upright(data):
    with PIL.Image.open(io.BytesIO(data)) as image:
        return np.asarray(PIL.ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", TURNS)
def test_the_whole_image_is_pillows_upright_one(photos, kind, orientation):
    for photo in photos:
        data = tagged(photo, kind, orientation)
        expected = upright(data)
        assert EncodedImage(data).shape == expected.shape
        np.testing.assert_array_equal(decode(data), expected)
        # Without the tag the same file shows what is stored.
        stored = decode(data, AS_STORED)
        np.testing.assert_array_equal(TURNS[orientation].upright(stored), expected)
        np.testing.assert_array_equal(TURNS[orientation].stored(expected), stored)


@pytest.mark.parametrize("orientation", TURNS)
def test_a_large_png_is_read_with_less_memory_and_alike(photos, orientation, monkeypatch):
    data = tagged(photos[1], "PNG", orientation)
    expected = decode(data), decode(data, AS_STORED)
    monkeypatch.setattr("wae_jax.data.images.decode._LARGE", 0)
    np.testing.assert_array_equal(decode(data), expected[0])
    np.testing.assert_array_equal(decode(data, AS_STORED), expected[1])
    with pytest.raises(DecodeError, match="cut short"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("size", [224, 64, 30])
def test_evaluation_of_a_turned_photo_is_that_of_the_upright_one(photos, kind, orientation, size):
    transform = make_transform("imagenet", size, train=False)
    for photo in photos:
        data = tagged(photo, kind, orientation)
        (found,) = transform([EncodedImage(data)], np.empty((1, 0))).astype(int)
        (expected,) = transform([upright(data)], np.empty((1, 0)))
        # JPEG's own scaling costs a gray level where it is used, whatever the orientation.
        scaled = kind == "JPEG" and size < 100
        assert np.abs(found - expected).mean() < (1.2 if scaled else 0.25)


@pytest.mark.parametrize("orientation", TURNS)
def test_a_training_crop_of_a_turned_photo_is_that_of_the_upright_one(photos, orientation):
    transform = ImageNetTrain(200, scale=(0.3, 1.0))  # large: JPEG is not scaled in the decoder
    draws = uniforms(0, np.arange(8), np.arange(8), transform.draws)
    for photo in photos:
        for kind in ("PNG", "JPEG"):
            data = tagged(photo, kind, orientation)
            found = transform([EncodedImage(data)] * 8, draws).astype(int)
            expected = transform([upright(data)] * 8, draws)
            # JPEG is decoded fast: an inexact DCT, chroma that is not interpolated.
            assert np.abs(found - expected).mean() < (2.5 if kind == "JPEG" else 0.2)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("size", [30, 64])
def test_very_large_images_are_shrunk_before_they_are_resized(
    photos, orientation, size, monkeypatch
):
    """With less memory, to nearly the same."""
    transform = make_transform("imagenet", size, train=False)
    data = [tagged(photo, "PNG", orientation) for photo in photos]
    expected = transform(map(EncodedImage, data), np.empty((2, 0))).astype(int)
    monkeypatch.setattr("wae_jax.data.images.decode._LARGE", 20_000)
    found = transform(map(EncodedImage, data), np.empty((2, 0)))
    assert 0 < np.abs(found - expected).mean() < 1.2


def test_damaged_exif_leaves_a_photo_as_it_is(photos):
    data = tagged(photos[0], "JPEG", 6)
    at = data.index(b"Exif\0\0") + 6
    assert turn_of_jpeg(data) == TURNS[6]
    for damage in (b"XX*\0", b"II*\0\xff\xff\xff\xff", b""):
        broken = data[:at] + damage + data[at + len(damage) :] if damage else data[:at]
        assert turn_of_jpeg(broken) == UPRIGHT
    for nonsense in (b"", b"\xff\xd8", b"\xff\xd8\xff\xe1\0", bytes(100)):
        assert turn_of_jpeg(nonsense) == turn_of_png(nonsense) == UPRIGHT
    assert turn_of_png(tagged(photos[0], "PNG", 9)) == UPRIGHT  # no such orientation


@pytest.mark.parametrize("large", [0, 1 << 24])
def test_pixels_of_16_bits_are_scaled_and_of_32_refused(large, monkeypatch):
    monkeypatch.setattr("wae_jax.data.images.decode._LARGE", large)
    gray = (np.arange(64 * 64, dtype=np.uint32).reshape(64, 64) * 16).astype(np.uint16)
    expected = np.repeat((gray >> 8).astype(np.uint8)[..., None], 3, axis=2)
    file = io.BytesIO()
    PIL.Image.fromarray(gray).save(file, "TIFF")
    for data in (file.getvalue(), cv2.imencode(".png", gray)[1].tobytes()):
        np.testing.assert_array_equal(decode(data), expected)
    for numbers, mode in ((gray.astype(np.int32), "I"), (gray.astype(np.float32), "F")):
        file = io.BytesIO()
        PIL.Image.fromarray(numbers).save(file, "TIFF")
        with pytest.raises(DecodeError, match=rf"32-bit numbers \(mode {mode}\)"):
            decode(file.getvalue())


def huge_png(width, height):
    """One gray level: some hundred kilobytes however large."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    pack = zlib.compressobj(9)
    lines = b"".join(pack.compress(bytes(1 + -(-width // 8))) for _ in range(height)) + pack.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", lines), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def claiming(photo, side):
    """A small JPEG file whose header claims another size."""
    file = io.BytesIO()
    photo.resize((64, 64)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


MEASURE = (
    "import resource, sys, numpy as np\n"
    "from wae_jax.data import DecodeError, EncodedImage, make_transform\n"
    "for path in sys.argv[1:]:\n"
    "    try:\n"
    "        image = EncodedImage(open(path, 'rb').read())\n"
    "        make_transform('imagenet', 224, train=False)([image], np.empty((1, 0)))\n"
    "    except DecodeError as error:\n"
    "        print(error)\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
)


def test_huge_images_are_refused_from_the_header(photos, run_env, root, tmp_path):
    (tmp_path / "huge.png").write_bytes(huge_png(30000, 30000))
    (tmp_path / "huge.jpg").write_bytes(claiming(photos[0], 65500))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "huge.png", tmp_path / "huge.jpg"],
        cwd=root,
        env=run_env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    of_png, of_jpeg, megabytes = done.stdout.splitlines()
    limit = "pixels are more than config.data.max_pixels=178956970"
    assert f"its 30000 x 30000 {limit}" in of_png
    assert f"its 65500 x 65500 {limit}" in of_jpeg
    assert int(megabytes) < 1024


def test_the_limit_is_on_pixels_of_every_format(photos):
    for kind in FORMATS:
        data = tagged(photos[0], kind, 6)
        assert EncodedImage(data, Reading(max_pixels=500 * 375)).shape == (500, 375, 3)
        with pytest.raises(DecodeError, match=r"\d+ x \d+ pixels are more than .*=187499"):
            EncodedImage(data, Reading(max_pixels=500 * 375 - 1))
