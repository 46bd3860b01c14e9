"""Products of two activations, and the attention that is made of them."""

from __future__ import annotations

import dataclasses
import math

import keras

from mobilequant import layers
from mobilequant.quantize.rules.composite import Composite
from mobilequant.quantize.rules.registry import Rule, Unsupported, register_rule


@register_rule(keras.layers.Dot)
class DotRule(Rule):
    """Dot over two batches of matrices: (n, a, c) and (n, b, c), or (n, c, b), to (n, a, b)."""

    def build(self, group, context):
        call = group[0]
        layer = call.layer
        ranks = [len(tensor.shape) for tensor in call.inputs]
        axes = layer.axes if isinstance(layer.axes, int) else tuple(layer.axes)
        first, second = (axes, axes) if isinstance(axes, int) else axes
        first, second = (axis % 3 for axis in (first, second)) if ranks == [3, 3] else (0, 0)
        if ranks != [3, 3] or first != 2 or second not in (1, 2) or layer.normalize:
            raise Unsupported(
                f"axes {layer.axes} of tensors of {ranks} dimensions; batches of matrices are "
                "multiplied with axes (2, 1) or (2, 2), without normalize."
            )
        context.require("BATCH_MATMUL")
        return [
            layers.QuantizedDot(
                transposed=second == 2, activations=context.recipe.outputs, name=layer.name
            )
        ]


@register_rule(keras.layers.MultiHeadAttention)
class MultiHeadAttentionRule(Rule):
    """Attention over one dimension, as it is composed: projections, two products, a softmax.

    1/√d goes into the projection of the queries, where it costs nothing.
    """

    def build(self, group, context):
        call = group[0]
        layer = call.layer
        places = _check_attention(call, context)
        context.require("FULLY_CONNECTED", "RESHAPE", "TRANSPOSE", "BATCH_MATMUL", "SOFTMAX")
        make = _Parts(call, context)

        def attend(name, tensors):
            query, value, key = (tensors[place] for place in places)
            query = make.heads(query, layer.query_dense, f"{name}_query", layer.key_dim**-0.5)
            key = make.heads(key, layer.key_dense, f"{name}_key")
            value = make.heads(value, layer.value_dense, f"{name}_value")
            scores = make.dot(f"{name}_scores", transposed=True)([query, key])
            shares = make.softmax(f"{name}_softmax")(scores)
            if layer.dropout:
                shares = keras.layers.Dropout(layer.dropout, name=f"{name}_dropout")(shares)
            mixed = make.dot(f"{name}_mixed")([shares, value])
            return make.joined(mixed, layer.output_dense, name)

        return [Composite(attend, layer.name)]


class _Parts:
    """The layers that attention is made of."""

    def __init__(self, call, context):
        recipe = context.recipe_of(call)
        self._outputs = context.recipe.outputs
        self._weights = recipe.weights
        if self._weights.granularity == "channel" and self._outputs.on_device_grid:
            granularity = context.target.dense_granularity
            self._weights = dataclasses.replace(self._weights, granularity=granularity)
        self._inputs = None
        if context.flows_in_float and recipe.activations.quantized:
            self._inputs = recipe.activations
        self._trainable = call.layer.trainable

    def heads(self, x, projection, name, factor=1.0):
        """(batch, length, channels) to (batch, heads, length, size)."""
        *_, heads, size = projection.kernel.shape
        x = self._dense(projection, heads * size, name, factor)(x)
        x = keras.layers.Reshape((_length(x), heads, size), name=f"{name}_split")(x)
        return keras.layers.Permute((2, 1, 3), name=f"{name}_heads")(x)

    def joined(self, x, projection, name):
        """(batch, heads, length, size) to (batch, length, channels)."""
        _, heads, _, size = x.shape
        x = keras.layers.Permute((2, 1, 3), name=f"{name}_positions")(x)
        x = keras.layers.Reshape((_length(x), heads * size), name=f"{name}_joined")(x)
        return self._dense(projection, projection.kernel.shape[-1], name)(x)

    def dot(self, name, transposed=False):
        return layers.QuantizedDot(transposed, activations=self._outputs, name=name)

    def softmax(self, name):
        return layers.QuantizedSoftmax(activations=self._outputs, name=name)

    def _dense(self, projection, units, name, factor=1.0):
        """An `EinsumDense` of attention as a Dense layer, weights included."""
        inputs = math.prod(projection.kernel.shape) // units
        stock = keras.layers.Dense(
            units,
            use_bias=projection.bias is not None,
            kernel_initializer=projection.kernel_initializer,
            bias_initializer=projection.bias_initializer,
            kernel_regularizer=projection.kernel_regularizer,
            bias_regularizer=projection.bias_regularizer,
            name=f"{name}_projection",
        )
        stock.build((None, inputs))
        stock.kernel.assign(keras.ops.reshape(projection.kernel, (inputs, units)))
        if stock.use_bias:
            stock.bias.assign(keras.ops.reshape(projection.bias, (units,)))
        stock.trainable = self._trainable and projection.trainable
        return layers.QuantizedDense(
            stock,
            weights=self._weights,
            activations=self._outputs,
            inputs=self._inputs,
            factor=factor,
            name=name,
        )


def _check_attention(call, context):
    """The places of query, value and key among the call's inputs; refuses what is not plain."""
    layer = call.layer
    given = dict(zip(("query", "value", "key"), call.operands, strict=False)) | call.arguments
    for name in ("attention_mask", "query_mask", "value_mask", "key_mask", "use_causal_mask"):
        if given.get(name) not in (None, False):
            raise Unsupported(f"{name}; TFLite's softmax has no mask. Leave the mask out.")
    if given.get("return_attention_scores"):
        raise Unsupported("return_attention_scores; only the attention's output can be given.")
    if len(context.graph.calls_of(call)) > 1:
        raise Unsupported("attention whose weights are shared; give each call a layer of its own.")
    if getattr(layer, "_use_gate", False):
        raise Unsupported("a gate; build the model without use_gate.")
    ranks = {len(tensor.shape) for tensor in call.inputs}
    if ranks != {3} or len(layer.output_dense.kernel.shape) != 3:
        raise Unsupported(
            "attention over several dimensions, or to several; Reshape to (batch, length, "
            "channels) before it."
        )
    roles = [given["query"], given["value"], given.get("key", given["value"])]
    order = [id(tensor) for tensor in call.inputs]
    return [order.index(id(tensor)) for tensor in roles]


def _length(tensor):
    return -1 if tensor.shape[1] is None else tensor.shape[1]
