"""Stock layers that move, copy, select or drop values, and what they are on a device.

They stay in a quantized model as they are: on centred integers they compute what they compute on
real values, zero padding included. Output and input lie on one grid.
"""

from __future__ import annotations

import keras

from mobilequant import integer
from mobilequant.layers.frozen import as_image, copy, image_frame, reshape_after, reshape_before
from mobilequant.layers.scaling import StochasticDepth
from mobilequant.layers.selecting import ArgMax, Extreme, Slice

#: Layers that act in training only: gone at export.
TRAINING_ONLY = (
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.ActivityRegularization,
    keras.layers.Identity,
    StochasticDepth,
)


def keeps_grid(operation) -> bool:
    """Whether a stock layer is one of these as a device has it, so that its output lies on the
    grid of its input.

    One that was left in float may have options that these operators do not have.
    """
    return (
        isinstance(operation, (*TRAINING_ONLY, *MOVING))
        and getattr(operation, "data_format", "channels_last") in ("channels_last", None)
        and getattr(operation, "interpolation", "nearest") == "nearest"
        and not getattr(operation, "crop_to_aspect_ratio", False)
        and not getattr(operation, "pad_to_aspect_ratio", False)
    )


def frozen_form(layer, source: integer.Tensor, shape):
    """What a stock layer is on a device.

    Args:
        layer: Of a class in `TRAINING_ONLY` or `MOVING`, or an `ArgMax`.
        source: Its input.
        shape: Of its output, without the batch.

    Returns:
        operators, and the tensor that they give; None for any other layer.
    """
    if isinstance(layer, TRAINING_ONLY):
        return [], source
    if isinstance(layer, ArgMax):
        output = integer.IndexTensor(layer.name, tuple(shape))
        axis = layer.axis % (1 + len(source.shape))
        return [copy("ARG_MAX", layer.name, source, output, axis=axis)], output
    for kind in type(layer).__mro__:
        if kind in MOVING:
            output = integer.Tensor(layer.name, tuple(shape), source.scale, source.zero_point)
            return MOVING[kind](layer, source, output), output
    return None


def pool_geometry(layer) -> dict:
    """Options of a pooling operator: those of a stock layer over one or two dimensions."""
    pad = (1,) * (2 - len(layer.pool_size))
    return {
        "pool_size": (*pad, *layer.pool_size),
        "strides": (*pad, *layer.strides),
        "padding": layer.padding.upper(),
    }


def pool(kind, name, source, output, options):
    """A pooling operator, with what makes an image of a sequence around it."""
    before, image, pooled, after = image_frame(name, source, output)
    return [*before, copy(kind, name, image, pooled, **options), *after]


def resize(kind, name, source, output, image_shape, size):
    """A resizing operator with half-pixel centres, and reshapes around it."""
    before, image = reshape_before(f"{name}/image", source, image_shape)
    resized, after = reshape_after(f"{name}/resized", (*size, image_shape[-1]), output)
    options = {"align_corners": False, "half_pixel_centers": True}
    return [*before, copy(kind, name, image, resized, **options), *after]


def _reshape(layer, source, output):
    return [copy("RESHAPE", layer.name, source, output)]


def _pad(layer, source, output):
    paddings = _pairs(layer.padding)
    return [copy("PAD", layer.name, source, output, paddings=(*paddings, (0, 0)))]


def _crop(layer, source, output):
    begin = tuple(before for before, _ in _pairs(layer.cropping))
    return [copy("SLICE", layer.name, source, output, begin=(*begin, 0))]


def _slice(layer, source, output):
    parts = [part.indices(size) for part, size in zip(layer.slices, source.shape, strict=True)]
    starts, ends, strides = zip(*parts, strict=True)
    if set(strides) == {1}:
        return [copy("SLICE", layer.name, source, output, begin=starts)]
    options = {"begin": starts, "end": ends, "strides": strides}
    return [copy("STRIDED_SLICE", layer.name, source, output, **options)]


def _extreme(layer, source, output):
    kind = {"max": "REDUCE_MAX", "min": "REDUCE_MIN"}[layer.kind]
    options = {"axes": layer.axes, "keepdims": layer.keepdims}
    return [copy(kind, layer.name, source, output, **options)]


def _permute(layer, source, output):
    permutation = (0, *layer.dims)
    return [copy("TRANSPOSE", layer.name, source, output, permutation=permutation)]


def _max_pool(layer, source, output):
    return pool("MAX_POOL_2D", layer.name, source, output, pool_geometry(layer))


def _global_max_pool(layer, source, output):
    *size, channels = as_image(source.shape)
    before, image = reshape_before(f"{layer.name}/image", source, (*size, channels))
    pooled, after = reshape_after(f"{layer.name}/pooled", (1, 1, channels), output)
    options = {"pool_size": tuple(size), "strides": (1, 1), "padding": "VALID"}
    return [*before, copy("MAX_POOL_2D", layer.name, image, pooled, **options), *after]


def _nearest_2d(layer, source, output):
    height, width, _ = output.shape
    return resize(
        "RESIZE_NEAREST_NEIGHBOR", layer.name, source, output, source.shape, (height, width)
    )


def _nearest_1d(layer, source, output):
    length, channels = source.shape
    size = (output.shape[0], 1)
    image = (length, 1, channels)
    return resize("RESIZE_NEAREST_NEIGHBOR", layer.name, source, output, image, size)


def _repeat(layer, source, output):
    image, size = (1, 1, source.shape[-1]), (layer.n, 1)
    return resize("RESIZE_NEAREST_NEIGHBOR", layer.name, source, output, image, size)


def _pairs(sizes):
    """(before, after) along each dimension."""
    return (tuple(sizes),) if isinstance(sizes[0], int) else tuple(map(tuple, sizes))


#: From a class to a function of (layer, source, output) that gives operators.
MOVING = {
    keras.layers.Cropping1D: _crop,
    keras.layers.Cropping2D: _crop,
    keras.layers.Flatten: _reshape,
    keras.layers.GlobalMaxPooling1D: _global_max_pool,
    keras.layers.GlobalMaxPooling2D: _global_max_pool,
    keras.layers.MaxPooling1D: _max_pool,
    keras.layers.MaxPooling2D: _max_pool,
    keras.layers.Permute: _permute,
    keras.layers.RepeatVector: _repeat,
    keras.layers.Reshape: _reshape,
    keras.layers.Resizing: _nearest_2d,
    keras.layers.UpSampling1D: _nearest_1d,
    keras.layers.UpSampling2D: _nearest_2d,
    keras.layers.ZeroPadding1D: _pad,
    keras.layers.ZeroPadding2D: _pad,
    Extreme: _extreme,
    Slice: _slice,
}
