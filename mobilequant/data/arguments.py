"""Checks of the arguments that all loaders take."""

import numbers


def checked_size(image_size) -> tuple[int, int]:
    """(height, width) of `image_size`, which may be one number for both.

    Raises:
        ValueError: it is neither.
    """
    size = (image_size,) * 2 if isinstance(image_size, numbers.Integral) else image_size
    try:
        size = tuple(size)
    except TypeError:
        size = ()
    if len(size) != 2 or not all(isinstance(s, numbers.Integral) and s > 0 for s in size):
        raise ValueError(
            "image_size must be a number of pixels or (height, width), for example 224, "
            f"got {image_size!r}"
        )
    return int(size[0]), int(size[1])


def check_count(name: str, value) -> None:
    """Raises a ValueError where `value` is no whole number of at least 1."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")


def check_common(batch_size, limit, channels, validation) -> None:
    """Checks what every loader takes besides the size of the images.

    Raises:
        ValueError: one of them is out of range.
    """
    check_count("batch_size", batch_size)
    if limit is not None:
        check_count("limit", limit)
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (RGB), got {channels!r}")
    if not 0 <= validation < 1:
        raise ValueError(f"validation must be at least 0 and below 1, got {validation!r}")
