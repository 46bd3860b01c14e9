"""FPN-Lite: a feature pyramid of separable convolutions."""

from collections.abc import Sequence

import keras

from mobilequant.models.bottlenecks import depthwise_separable
from mobilequant.models.convolution import TENSORFLOW, Conventions, convolution


def fpn_lite(
    features: Sequence,
    levels: int,
    *,
    filters: int = 128,
    activation: str = "relu6",
    conventions: Conventions = TENSORFLOW,
) -> list:
    """Brings what coarse feature maps know to the finer ones, and adds coarser ones.

    The pyramid of arXiv:1612.03144, figure 3 (1×1 convolutions from the side, nearest upsampling
    by two, addition, and a 3×3 convolution on the sum), with more levels by strides as in
    arXiv:1708.02002, section 4, and with all 3×3 convolutions separable.

    Args:
        features: symbolic tensors, (batch, rows, columns, channels), the finest first, each half
            the size of the one before, rounded up.
        levels: of the result; those beyond `features` come from the coarsest by strides of 2.
        filters: channels of every level.
        activation: a key of `ACTIVATIONS`, after each separable convolution's two halves.
        conventions: padding and normalization.

    Returns:
        `levels` symbolic tensors, the finest first.

    Raises:
        ValueError: there are fewer levels than features, or sizes are not halved.
    """
    if levels < len(features):
        raise ValueError(f"fpn_lite: {len(features)} feature maps for {levels} levels")
    _check_halving(features)
    sides = [
        convolution(x, filters, use_bias=True, name=f"fpn_{i}_side")
        for i, x in enumerate(features, start=1)
    ]
    merged = [sides[-1]]
    for i in range(len(sides) - 1, 0, -1):
        above = _doubled(merged[0], sides[i - 1], f"fpn_{i}")
        merged.insert(0, keras.layers.Add(name=f"fpn_{i}_add")([sides[i - 1], above]))

    def separable(x, name, strides=1):
        return depthwise_separable(
            x,
            filters,
            strides=strides,
            activation=activation,
            conventions=conventions,
            layer_names=(f"{name}_depthwise", f"{name}_pointwise"),
        )

    pyramid = [separable(x, f"fpn_{i}") for i, x in enumerate(merged, start=1)]
    for i in range(len(pyramid) + 1, levels + 1):
        pyramid.append(separable(pyramid[-1], f"fpn_{i}", strides=2))
    return pyramid


def _doubled(coarse, fine, name: str):
    """The coarse map at the size of the fine one, which may be odd."""
    x = keras.layers.UpSampling2D(2, interpolation="nearest", name=f"{name}_up")(coarse)
    excess = [have - want for have, want in zip(x.shape[1:3], fine.shape[1:3], strict=True)]
    if not any(excess):
        return x
    return keras.layers.Cropping2D([(0, e) for e in excess], name=f"{name}_crop")(x)


def _check_halving(features) -> None:
    sizes = [tuple(x.shape[1:3]) for x in features]
    for fine, coarse in zip(sizes, sizes[1:], strict=False):
        if coarse != tuple(-(-n // 2) for n in fine):
            raise ValueError(
                "fpn_lite: each feature map must be half the size of the one before (rounded up), "
                f"got {', '.join(f'{h}×{w}' for h, w in sizes)}"
            )
