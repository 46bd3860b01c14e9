"""Mobile MQA: the attention block of MobileNetV4 Hybrid, of stock Keras layers."""

import math

import keras

from mobilequant.layers import LayerScale
from mobilequant.models.bottlenecks import add_residual
from mobilequant.models.convolution import (
    TENSORFLOW,
    Conventions,
    convolution,
    depthwise_convolution,
    normalize,
)


def mobile_mqa(
    x,
    *,
    num_heads: int = 4,
    key_dim: int = 64,
    value_dim: int = 64,
    kv_strides: int = 1,
    downsampling_kernel_size: int = 3,
    layer_scale: float | None = None,
    residual: bool = True,
    stochastic_depth: float = 0.0,
    conventions: Conventions = TENSORFLOW,
    name: str = "attention",
):
    """Multi-query attention over the pixels of a feature map (arXiv:2404.10518, section 5).

    All heads share one set of keys and values (arXiv:1911.02150), which a depthwise convolution
    may first make smaller. With N pixels, h heads and M keys:

        attention = softmax(Q Kᵀ / √key_dim), of shape (batch, N·h, M)

    The channels of the queries are ordered by head, so that (N, h·key_dim) becomes
    (N·h, key_dim) by reshaping alone, and two batched matrix products do all heads at once.

    Args:
        x: symbolic tensor of shape (batch, height, width, channels); height and width known.
        num_heads: h, the number of query heads.
        key_dim: channels of a query and of a key.
        value_dim: channels of a value.
        kv_strides: strides of the depthwise convolution before keys and before values; 1 for
            none.
        downsampling_kernel_size: height and width of its kernel.
        layer_scale: initial value of a `LayerScale` at the end, `None` for none.
        residual: whether the input is added to the output.
        stochastic_depth: probability of dropping the block in training where the input is added.
        conventions: padding and normalization.
        name: what the names of its layers begin with.

    Returns:
        A symbolic tensor of the shape of `x`.

    Raises:
        ValueError: the height or the width of `x` is not known.
    """
    _, height, width, channels = x.shape
    if height is None or width is None:
        raise ValueError(
            f"{name}: attention needs to know how many pixels there are; give a whole number "
            "for height and width, such as input_shape=(256, 256, 3)"
        )

    def rows(tensor, columns, place):
        return keras.layers.Reshape((-1, columns), name=f"{name}_{place}_rows")(tensor)

    def shared(tensor, filters, place):
        if kv_strides > 1:
            tensor = depthwise_convolution(
                tensor,
                downsampling_kernel_size,
                strides=kv_strides,
                conventions=conventions,
                name=f"{name}_{place}_downsample",
            )
            tensor = normalize(tensor, f"{name}_{place}_downsample_bn", conventions)
        return rows(convolution(tensor, filters, name=f"{name}_{place}"), filters, place)

    normalized = normalize(x, f"{name}_norm", conventions)
    query = convolution(normalized, num_heads * key_dim, name=f"{name}_query")
    query = keras.layers.Rescaling(1 / math.sqrt(key_dim), name=f"{name}_query_scale")(query)
    query = rows(query, key_dim, "query")
    key = shared(normalized, key_dim, "key")
    value = shared(normalized, value_dim, "value")

    scores = keras.layers.Dot(axes=(2, 2), name=f"{name}_scores")([query, key])
    weights = keras.layers.Softmax(name=f"{name}_softmax")(scores)
    heads = keras.layers.Dot(axes=(2, 1), name=f"{name}_heads")([weights, value])
    heads = keras.layers.Reshape((height, width, num_heads * value_dim), name=f"{name}_merge")(
        heads
    )
    y = convolution(heads, channels, name=f"{name}_output")
    if layer_scale is not None:
        y = LayerScale(layer_scale, name=f"{name}_layer_scale")(y)
    return add_residual(x, y, 1, residual, stochastic_depth, name)
