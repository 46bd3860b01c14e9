"""Image files and mask files, decoded with Pillow, whose errors can name the file.

TensorFlow's decoders would not name it. Pillow also reads palettes, CMYK and WebP.
"""

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")

# Pillow's modes whose values are class indices: black and white, grey, palette, 16 and 32 bits.
_INDEX_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")


def decode_image(path):
    """A uint8 tensor (height, width, 3); photographs are turned upright.

    Args:
        path: string tensor.
    """
    return _decode(path, upright=True)


def decode_stored_image(path):
    """The same in the orientation of the file, to which boxes and masks refer.

    Args:
        path: string tensor.
    """
    return _decode(path, upright=False)


def decode_mask(path):
    """Class indices of a mask file, int32 (height, width): palette, grey, 8 or 16 bits.

    Args:
        path: string tensor.
    """
    mask = tf.numpy_function(_open_mask, [path], tf.int32, stateful=False)
    mask.set_shape((None, None))
    return mask


def _decode(path, upright: bool):
    def read(path: bytes) -> np.ndarray:
        name = path.decode()
        try:
            with Image.open(name) as image:
                image = ImageOps.exif_transpose(image) if upright else image
                return np.asarray(image.convert("RGB"))
        except Exception as error:  # Pillow raises many kinds, SyntaxError among them
            raise ValueError(f"{name} is no image that can be read: {error}") from error

    image = tf.numpy_function(read, [path], tf.uint8, stateful=False)
    image.set_shape((None, None, 3))
    return image


def _open_mask(path: bytes) -> np.ndarray:
    name = path.decode()
    try:
        with Image.open(name) as image:
            mode, mask = image.mode, np.asarray(image)
    except Exception as error:
        raise ValueError(f"{name} is no mask that can be read: {error}") from error
    if mode not in _INDEX_MODES:
        raise ValueError(
            f"{name} is a mask of mode {mode}; a mask holds one class index a pixel: save it as a "
            "palette or grey PNG"
        )
    return mask.astype(np.int32)
