"""The 23 training photos of ImageNet that TFDS converts: 22 are CMYK, one is a PNG.

TFDS has TensorFlow do it; the same bytes come out here. TensorFlow decodes with the fast DCT of
libjpeg-turbo, mixes CMYK by a formula of its own, and writes quality 100 and 300 dots per inch.
"""

import io

import numpy as np
import PIL.Image
import simplejpeg
from tensorflow_datasets.datasets.imagenet2012 import imagenet2012_dataset_builder as tfds_imagenet

from wae_jax.data.images.decode import DecodeError, Reading, decode

# Values of the feature `file_name`.
NAMES = frozenset([*tfds_imagenet.CMYK_IMAGES, *tfds_imagenet.PNG_IMAGES])


def to_rgb_jpeg(data: bytes) -> bytes:
    """Converts an image file to an RGB JPEG.

    Raises:
        DecodeError: this is no image, or is damaged.
    """
    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            pixels = _decode(data, image)
    except (OSError, ValueError, SyntaxError) as error:
        raise DecodeError(str(error)) from error
    encoded = io.BytesIO()
    PIL.Image.fromarray(pixels).save(
        encoded, "JPEG", quality=100, subsampling="4:2:0", dpi=(300, 300)
    )
    return encoded.getvalue()


def _decode(data: bytes, image: PIL.Image.Image) -> np.ndarray:
    """Decodes to uint8 (H, W, 3) RGB; `image` is what Pillow makes of the same bytes."""
    if image.format != "JPEG":
        return decode(data, Reading(exif_orientation=False))  # TFDS ignores it
    if image.mode != "CMYK":
        return simplejpeg.decode_jpeg(data, "RGB", fastdct=True)
    try:
        cmyk = simplejpeg.decode_jpeg(data, "CMYK", fastdct=True)
    except ValueError:
        # Rare chroma formats need Pillow, which inverts all CMYK. It has no fast DCT: the result
        # differs from TensorFlow's by a few grey levels.
        cmyk = 255 - np.asarray(image)
    # Adobe's programs store CMYK inverted, so that 255 is no ink, and say so in a marker.
    light = (cmyk if "adobe" in image.info else 255 - cmyk).astype(np.uint16)
    return (light[..., :3] * light[..., 3:] // 255).astype(np.uint8)
