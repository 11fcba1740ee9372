import io

import cv2
import numpy as np
import PIL.Image
import pytest

from wae_jax.data import (
    PHOTO_SUFFIXES,
    DecodeError,
    ImageNetEval,
    ImageNetTrain,
    SmallEval,
    SmallTrain,
    decode,
    make_transform,
    uniforms,
)
from wae_jax.errors import UserError


def smooth_image(height, width, seed=0):
    noise = np.random.default_rng(seed).integers(256, size=(6, 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)


def encode(image, kind, mode="RGB", **options):
    file = io.BytesIO()
    PIL.Image.fromarray(image).convert(mode).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode", "tolerance"),
    [
        ("PNG", "RGB", 0),
        ("PNG", "RGBA", 0),
        ("BMP", "RGB", 0),
        ("JPEG", "RGB", 4),
        ("JPEG", "CMYK", 2),
        ("WEBP", "RGB", 4),
    ],
)
def test_decode_colour(kind, mode, tolerance):
    image = smooth_image(60, 80)
    decoded = decode(encode(image, kind, mode))
    assert decoded.shape == image.shape and decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - image).mean() <= tolerance


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "L"), ("PNG", "LA"), ("JPEG", "L")])
def test_decode_gray(kind, mode):
    image = smooth_image(60, 80)
    gray = np.asarray(PIL.Image.fromarray(image).convert("L")).astype(int)
    decoded = decode(encode(image, kind, mode))
    assert decoded.shape == image.shape
    assert np.abs(decoded - gray[..., None]).mean() <= 2


def test_decode_16_bit_gray():
    gray = smooth_image(20, 30)[..., 0]
    decoded = decode(encode_array_16(gray))
    np.testing.assert_array_equal(decoded, np.repeat(gray[..., None], 3, axis=2))


def encode_array_16(gray, kind="PNG"):
    file = io.BytesIO()
    PIL.Image.fromarray(gray.astype(np.uint16) << 8).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("suffix", PHOTO_SUFFIXES)
def test_what_is_taken_for_a_photo_can_be_decoded(suffix):
    """Whole, and not when it is cut; of an animation the first frame."""
    image = np.full((64, 80, 3), (200, 30, 90), np.uint8)
    image[:32] = (10, 250, 130)
    kind = PIL.Image.registered_extensions()[suffix]
    more = {"GIF": {"save_all": True, "append_images": [PIL.Image.new("RGB", (80, 64))]}}
    data = encode(image, kind, **more.get(kind, {}))
    found = decode(data)
    assert found.shape == image.shape
    assert np.abs(found.astype(int) - image).mean() <= 4
    with pytest.raises(DecodeError):
        decode(data[:100])


def test_decode_tiff_of_more_than_8_bits():
    """Gray of 16 bits as in PNG; numbers of unknown range are no image."""
    gray = smooth_image(20, 30)[..., 0]
    decoded = decode(encode_array_16(gray, "TIFF"))
    np.testing.assert_array_equal(decoded, np.repeat(gray[..., None], 3, axis=2))
    for kind in (np.float32, np.int32):
        file = io.BytesIO()
        PIL.Image.fromarray(gray.astype(kind)).save(file, "TIFF")
        with pytest.raises(DecodeError, match="range is not known"):
            decode(file.getvalue())


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("WEBP", "RGB")]
)
def test_cut_image_is_refused(kind, mode):
    data = encode(smooth_image(60, 80), kind, mode)
    for length in (12, len(data) // 2, len(data) - 20):
        with pytest.raises(DecodeError, match=f"image of {length} bytes"):
            decode(data[:length])


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff"])
def test_no_image_is_refused(data):
    with pytest.raises(DecodeError):
        decode(data)


def small_batch(count=64, size=8):
    return np.random.default_rng(0).integers(256, size=(count, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("pad_mode", ["reflect", "zero"])
def test_small_train_is_one_of_all_crops(pad_mode):
    images = small_batch(200)
    transform = SmallTrain(8, pad=2, pad_mode=pad_mode)
    numbers = uniforms(0, 0, np.arange(200), transform.draws)
    out = transform(images, numbers)
    seen = set()
    for image, result in zip(images, out, strict=True):
        padded = np.pad(
            image, ((2, 2), (2, 2), (0, 0)), "reflect" if pad_mode == "reflect" else "constant"
        )
        matches = [
            (top, left, flip)
            for top in range(5)
            for left in range(5)
            for flip in (1, -1)
            if np.array_equal(padded[top : top + 8, left : left + 8][:, ::flip], result)
        ]
        assert matches
        seen.update(matches)
    assert len(seen) > 45  # nearly all of the 50 are met
    np.testing.assert_array_equal(transform(list(images), numbers), out)


def test_small_train_extremes():
    images = small_batch(2)
    numbers = np.array([[0, 0, 0.6], [1 - 1e-12, 1 - 1e-12, 0.6]])
    out = SmallTrain(8, pad=3, pad_mode="zero")(images, numbers)
    np.testing.assert_array_equal(out[0, 3:, 3:], images[0, :5, :5])
    np.testing.assert_array_equal(out[1, :5, :5], images[1, 3:, 3:])
    assert not out[0, :3].any() and not out[1, 5:].any()


def test_small_eval_changes_nothing():
    images = small_batch()
    np.testing.assert_array_equal(SmallEval(8)(list(images), np.empty((64, 0))), images)


@pytest.mark.parametrize("transform", [SmallTrain(32), SmallEval(32)])
@pytest.mark.parametrize("as_list", [False, True])
def test_small_of_another_size_is_refused(transform, as_list):
    images = list(small_batch(3)) if as_list else small_batch(3)
    with pytest.raises(UserError, match="8 x 8 pixels where 32 x 32"):
        transform(images, np.zeros((3, transform.draws)))


def test_imagenet_train_crops():
    transform = ImageNetTrain()
    height, width = 375, 500
    numbers = uniforms(0, 0, np.arange(5000), transform.draws)
    boxes = np.array([transform.crop_box(height, width, draws) for draws in numbers])
    top, left, h, w = boxes.T
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + h <= height).all() and (left + w <= width).all()
    area, ratio = h * w / (height * width), w / h
    assert 0.075 < area.min() < 0.1 and 0.95 < area.max() <= 1
    assert 0.73 < ratio.min() < 0.77 and 1.3 < ratio.max() < 1.36
    assert abs(np.log(ratio).mean()) < 0.03
    assert {0, height - 1} <= {*top, *(top + h - 1)}


def test_imagenet_train_falls_back_to_the_centre():
    transform = ImageNetTrain()
    draws = np.full(transform.draws, 0.999)
    assert transform.crop_box(1000, 100, draws) == ((1000 - 133) // 2, 0, 133, 100)
    assert transform.crop_box(100, 1000, draws) == (0, (1000 - 133) // 2, 100, 133)


def test_imagenet_train_output():
    transform = ImageNetTrain(48)
    images = [
        smooth_image(60, 80),
        smooth_image(300, 200),
        smooth_image(20, 30),
        smooth_image(1, 1),
    ]
    numbers = uniforms(0, 0, np.arange(4), transform.draws)
    out = transform(iter(images), numbers)
    assert out.shape == (4, 48, 48, 3) and out.dtype == np.uint8
    flipped = numbers.copy()
    flipped[:, -1] = (numbers[:, -1] + 0.5) % 1
    np.testing.assert_array_equal(transform(images, flipped), out[:, :, ::-1])


def test_shrinking_does_not_alias():
    """One-pixel stripes average to gray instead of turning into broad stripes."""
    stripes = np.zeros((448, 448, 3), np.uint8)
    stripes[:, ::2] = 255
    train, evaluate = ImageNetTrain(100, scale=(0.99, 0.99), ratio=(1, 1)), ImageNetEval(100, 114)
    numbers = uniforms(0, 0, np.arange(1), train.draws)
    for image in (train([stripes], numbers), evaluate([stripes], np.empty((1, 0)))):
        assert abs(image.mean() - 127.5) < 2 and image.std() < 20


@pytest.mark.parametrize("shape", [(375, 500), (500, 375), (256, 256), (100, 130), (1200, 300)])
def test_imagenet_eval_is_resize_then_centre_crop(shape):
    image = smooth_image(*shape)
    out = ImageNetEval(224, 256)([image], np.empty((1, 0)))[0]
    height, width = (round(side * 256 / min(shape)) for side in shape)
    whole = PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BILINEAR)
    top, left = (height - 224) // 2, (width - 224) // 2
    expected = np.asarray(whole)[top : top + 224, left : left + 224].astype(int)
    assert np.abs(out - expected).max() <= 1


def test_imagenet_eval_resize_below_size():
    with pytest.raises(UserError, match="resized to 200"):
        ImageNetEval(224, 200)


def test_make_transform():
    assert make_transform("small", 32, True) == SmallTrain(32)
    assert make_transform("small", 32, False) == SmallEval(32)
    assert make_transform("imagenet", 112, True) == ImageNetTrain(112)
    assert make_transform("imagenet", 224, False) == ImageNetEval(224, 256)
    assert make_transform("imagenet", 112, False) == ImageNetEval(112, 128)
    with pytest.raises(UserError, match="'large'"):
        make_transform("large", 32, True)
