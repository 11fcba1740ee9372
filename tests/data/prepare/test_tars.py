"""Tars whose headers claim what is not there."""

import io
import tarfile

import pytest

from wae_jax.data.prepare import tars
from wae_jax.errors import UserError

SIZES = {
    "8 GiB": b"77777777777\0",
    "too large for a position": b"\x80" + b"\xff" * 11,
    "too large for a number": b"\x80\0\0\0\x7f" + b"\xff" * 7,
}
# The first header is that of a long name, of other metadata, or of the file.
NAMES = {
    tarfile.GNU_FORMAT: "x" * 160,
    tarfile.PAX_FORMAT: "é" * 60,
    tarfile.USTAR_FORMAT: "photo.jpg",
}


def tar_with_size(form: int, size: bytes) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as tar:
        tar.addfile(tarfile.TarInfo(NAMES[form]))
    block = bytearray(content.getvalue())
    block[124:136] = size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", NAMES)
def test_a_size_that_no_file_has(form, size, tmp_path):
    (tmp_path / "x.tar").write_bytes(tar_with_size(form, SIZES[size]))
    with pytest.raises(UserError, match=r"x\.tar is no tar, or is damaged or cut short"):
        tars.list_tar(tmp_path / "x.tar")


def test_a_tar_in_a_tar_ends_with_its_member(tmp_path):
    """Its last member's size would reach into what comes behind it."""
    inner = tar_with_size(tarfile.USTAR_FORMAT, b"00000001000\0")
    (tmp_path / "x.tar").write_bytes(inner[:1024] + bytes(4096))
    whole = tars.Member("inner.tar", 0, 1024)
    with pytest.raises(UserError, match="damaged or cut short"):
        tars.list_tar(tmp_path / "x.tar", within=whole)
