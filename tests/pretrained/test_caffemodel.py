"""The reader of .caffemodel files; that OpenCV reads the same is in test_caffe_parity.py."""

import numpy as np
import pytest

from tests.pretrained.caffe_files import write_caffemodel
from wae_jax.errors import UserError
from wae_jax.pretrained.caffemodel import read_caffemodel

RNG = np.random.default_rng(0)
ARRAYS = {
    "conv1": [RNG.standard_normal((4, 3, 5, 5), np.float32), RNG.standard_normal(4, np.float32)],
    "fc": [RNG.standard_normal((2, 100), np.float32)],
}


def test_every_array_comes_back_as_written(tmp_path):
    arrays = read_caffemodel(write_caffemodel(tmp_path / "a.caffemodel", ARRAYS))
    assert list(arrays) == ["conv1[0]", "conv1[1]", "fc[0]"]
    for name, array in arrays.items():
        layer, index = name[:-1].split("[")
        np.testing.assert_array_equal(array, ARRAYS[layer][int(index)], strict=True)


def test_files_from_before_2015_have_four_axes(tmp_path):
    arrays = read_caffemodel(write_caffemodel(tmp_path / "a.caffemodel", ARRAYS, old=True))
    assert {name: array.shape for name, array in arrays.items()} == {
        "conv1[0]": (4, 3, 5, 5),
        "conv1[1]": (1, 1, 1, 4),
        "fc[0]": (1, 1, 2, 100),
    }
    np.testing.assert_array_equal(arrays["fc[0]"][0, 0], ARRAYS["fc"][0])


def test_double_precision_becomes_single(tmp_path):
    path = write_caffemodel(tmp_path / "a.caffemodel", {"a": [np.array([0.1, 2.0])]})
    np.testing.assert_array_equal(
        read_caffemodel(path)["a[0]"], np.array([0.1, 2.0], np.float32), strict=True
    )


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_file_is_named(tmp_path, keep):
    path = write_caffemodel(tmp_path / "a.caffemodel", ARRAYS)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(UserError, match=r"a\.caffemodel is not a \.caffemodel, or is cut short"):
        read_caffemodel(path)


@pytest.mark.parametrize(
    "content", [b"", b"no protobuf", b"\x89PNG\r\n\x1a\n", bytes(1000), b"\x0a\x03abc"]
)
def test_another_kind_of_file_is_named(tmp_path, content):
    path = tmp_path / "a.caffemodel"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.caffemodel is not a \.caffemodel"):
        read_caffemodel(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.caffemodel: No such file"):
        read_caffemodel(tmp_path / "none.caffemodel")
    with (tmp_path / "big.caffemodel").open("wb") as file:
        file.truncate(2**31)  # sparse: takes no disk
    with pytest.raises(UserError, match="2147483648 bytes"):
        read_caffemodel(tmp_path / "big.caffemodel")


def test_numbers_that_do_not_fill_the_shape_are_named(tmp_path):
    path = write_caffemodel(tmp_path / "a.caffemodel", {"fc": [np.ones((2, 3), np.float32)]})
    path.write_bytes(path.read_bytes().replace(b"\x0a\x02\x02\x03", b"\x0a\x02\x02\x04"))
    with pytest.raises(UserError, match=r"fc\[0\] .* has 24 bytes of numbers for shape \(2, 4\)"):
        read_caffemodel(path)


def test_a_layer_that_comes_twice_is_named(tmp_path):
    path = write_caffemodel(tmp_path / "a.caffemodel", ARRAYS)
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(UserError, match=r"has conv1\[0\] twice"):
        read_caffemodel(path)
