import io

import cv2
import numpy as np
import PIL.Image
import pytest

from wae_jax.data import DecodeError, EncodedImage, ImageNetEval, decode, open_source
from wae_jax.data.images.decode import with_height
from wae_jax.data.images.transforms import resize_into

SIZE = (64, 64)


@pytest.fixture(scope="module")
def photos():
    """JPEG bytes of real photos, 500 x 375."""
    source = open_source("photos_500x375", "train")
    return [encoded for encoded, _ in source.read(range(0, len(source), 20))]


def reencoded(data, **options):
    file = io.BytesIO()
    PIL.Image.open(io.BytesIO(data)).save(file, **({"format": "JPEG", "quality": 90} | options))
    return file.getvalue()


KINDS = {
    "4:2:0": {},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_rows": 1},
    "PNG": {"format": "PNG"},
}


def test_photos_are_as_large_as_imagenets(photos):
    for split, low, high in (("train", 50e3, 60e3), ("heavy", 90e3, 115e3)):
        source = open_source("photos_500x375", split)
        assert len(source) == 230
        assert low < np.mean([len(data) for data, _ in source.read(range(230))]) < high
    assert all(EncodedImage(photo).shape == (375, 500, 3) for photo in photos)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("box", [(0, 0, 40, 60), (101, 33, 150, 401), (300, 100, 75, 400)])
@pytest.mark.parametrize("fast", [True, False])
def test_a_region_is_that_part_of_the_whole(photos, kind, box, fast):
    """Exactly: only what is not needed is left out."""
    top, left, height, width = box
    for photo in photos[:3]:
        image = EncodedImage(reencoded(photo, **KINDS[kind]))
        whole = image.region((0, 0, 375, 500), (376, 501), fast=fast)
        assert whole.shape == (375, 500, 3)
        part = image.region(box, (height, width), fast=fast)
        np.testing.assert_array_equal(part, whole[top : top + height, left : left + width])


def test_the_accurate_region_is_what_decode_gives(photos):
    image = EncodedImage(photos[0])
    np.testing.assert_array_equal(
        image.region((0, 0, 375, 500), (376, 501), fast=False), decode(photos[0])
    )
    fast = image.region((0, 0, 375, 500), (376, 501), fast=True)
    assert 0 < np.abs(fast.astype(int) - decode(photos[0])).mean() < 2


@pytest.mark.parametrize("scale", [2, 4])
def test_a_region_may_come_smaller(photos, scale):
    """With at least the pixels asked for, and showing the same."""
    box = (32, 40, 64 * scale, 72 * scale)
    for photo in photos:
        part = EncodedImage(photo).region(box, SIZE, fast=True)
        assert part.shape == (64, 72, 3)
        whole = PIL.Image.fromarray(decode(photo)[32 : 32 + box[2], 40 : 40 + box[3]])
        small = np.asarray(whole.resize((72, 64), PIL.Image.Resampling.BOX))
        assert np.abs(part.astype(int) - small).mean() < 3
        odd = EncodedImage(photo).region((33, 41, *box[2:]), SIZE, fast=True)
        assert odd.shape == (65, 73, 3)  # covers the box


def test_damage_in_the_region_is_seen(photos):
    """Rows that a warning would leave gray, although the file ends as it must."""
    for photo in photos[:4]:
        cut = photo[: len(photo) // 2] + photo[-2:]
        for box in ((0, 0, 375, 500), (300, 0, 70, 200)):
            with pytest.raises(DecodeError, match="premature end of data segment"):
                EncodedImage(cut).region(box, SIZE, fast=True)


def test_a_cut_file_is_seen_even_if_the_region_is_whole(photos):
    for length in (len(photos[0]) - 2, len(photos[0]) * 3 // 4):
        with pytest.raises(DecodeError, match="Premature end"):
            EncodedImage(photos[0][:length]).region((0, 0, 32, 32), (32, 32), fast=True)


def test_bytes_before_the_end_marker_do_no_harm(photos):
    """Cameras and editors leave them; every pixel is there."""
    padded = photos[0][:-2] + bytes(50) + photos[0][-2:]
    np.testing.assert_array_equal(decode(padded), decode(photos[0]))


def test_an_odd_jfif_version_does_no_harm(photos):
    at = photos[0].index(b"JFIF\0") + 5
    odd = photos[0][:at] + b"\0\0" + photos[0][at + 2 :]
    assert np.abs(decode(odd).astype(int) - decode(photos[0])).max() <= 2
    with pytest.raises(DecodeError):
        decode(odd[: len(odd) // 2])


def test_only_baseline_files_are_shortened(photos):
    shorter = with_height(photos[0], 64)
    assert len(shorter) == len(photos[0])
    assert EncodedImage(bytes(shorter)).shape == (64, 500, 3)
    assert with_height(photos[0], 375) is None
    assert with_height(reencoded(photos[0], progressive=True), 64) is None
    for nonsense in (b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\0", bytes(100)):
        assert with_height(nonsense, 64) is None


@pytest.mark.parametrize("size", [224, 96])
@pytest.mark.parametrize("turned", [False, True])
def test_evaluation_is_pillows_resize_and_centre_crop(photos, size, turned):
    """Within 2 gray levels on average (here 0.3), also where JPEG's own scaling helps."""
    transform = ImageNetEval(size, round(size * 256 / 224))
    for photo in photos:
        if turned:
            photo = reencoded(photo)  # then other blocks meet the edges
            image = PIL.Image.open(io.BytesIO(photo)).rotate(90, expand=True)
            file = io.BytesIO()
            image.save(file, "JPEG", quality=90)
            photo = file.getvalue()
        image = PIL.Image.open(io.BytesIO(photo))
        factor = transform.resize / min(image.size)
        width, height = (round(side * factor) for side in image.size)
        resized = image.resize((width, height), PIL.Image.Resampling.BILINEAR)
        top, left = (height - size) // 2, (width - size) // 2
        expected = np.asarray(resized)[top : top + size, left : left + size].astype(int)
        found = transform([EncodedImage(photo)], np.empty((1, 0)))[0]
        assert np.abs(found - expected).mean() < (0.3 if size == 224 else 1.5)


@pytest.mark.parametrize("shape", [(240, 250), (318, 318), (370, 440), (300, 448), (120, 300)])
def test_resize_is_near_to_pillows(photos, shape):
    for photo in photos:
        crop = decode(photo)[: shape[0], : shape[1]]
        found = np.empty((224, 224, 3), np.uint8)
        resize_into(found, crop)
        expected = PIL.Image.fromarray(crop).resize((224, 224), PIL.Image.Resampling.BILINEAR)
        assert np.abs(found.astype(int) - np.asarray(expected)).mean() < 2.5


@pytest.mark.parametrize("side", [300, 360, 440])
def test_resize_does_not_alias(side):
    """The finest stripes, which a smaller image cannot show, fade as with OpenCV's area filter."""
    stripes = np.zeros((side, side, 3), np.uint8)
    stripes[:, ::2] = 255
    found = np.empty((224, 224, 3), np.uint8)
    resize_into(found, stripes)
    plain = cv2.resize(stripes, (224, 224), interpolation=cv2.INTER_LINEAR)
    area = cv2.resize(stripes, (224, 224), interpolation=cv2.INTER_AREA)
    assert found.std() < min(area.std() + 9, 0.8 * plain.std())
    assert abs(found.mean() - 127.5) < 2
