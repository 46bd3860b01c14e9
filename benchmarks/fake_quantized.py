"""A frozen graph computed as fake quantization does: in float, every tensor rounded to its grid.

For comparison only: this is what a quantization-aware model that simulates in float evaluates,
with the very same integers, scales and zero points.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mobilequant.integer import FrozenGraph

_ACTIVATIONS = {"NONE": tf.identity, "RELU": tf.nn.relu, "RELU6": tf.nn.relu6}


class FakeQuantized:
    """Callable: a float batch to int8 codes by tensor name.

    Args:
        graph: A frozen graph of CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, ADD, MEAN, SOFTMAX.
    """

    def __init__(self, graph: FrozenGraph):
        self._graph = graph

    def __call__(self, batch):
        values, codes = {}, {}

        def put(tensor, value):
            q = tf.round(value / tensor.scale) + tensor.zero_point
            q = tf.clip_by_value(q, -128, 127)
            values[tensor.name] = (q - tensor.zero_point) * tensor.scale
            codes[tensor.name] = q.numpy().astype(np.int8)

        put(self._graph.inputs[0], tf.constant(batch))
        for operator in self._graph.operators:
            inputs = [values[tensor.name] for tensor in operator.inputs]
            result = _ACTIVATIONS[operator.activation](_compute(operator, inputs))
            put(operator.outputs[0], result)
        return codes


def _compute(operator, inputs):
    x, options, weights = inputs[0], operator.options, operator.weights
    if weights is not None:
        flat = weights.values.astype("float32")
        shaped = flat.reshape(*flat.shape[:2], -1) if operator.kind[:2] == "DE" else flat
        kernel = (shaped * weights.scales).reshape(flat.shape)
        bias = weights.bias * (operator.inputs[0].scale * weights.scales)
    if operator.kind == "CONV_2D":
        return tf.nn.conv2d(x, kernel, options["strides"], options["padding"]) + bias
    if operator.kind == "DEPTHWISE_CONV_2D":
        strides = (1, *options["strides"], 1)
        return tf.nn.depthwise_conv2d(x, kernel, strides, options["padding"]) + bias
    if operator.kind == "FULLY_CONNECTED":
        return x @ kernel + bias
    if operator.kind == "ADD":
        return x + inputs[1]
    if operator.kind == "MEAN":
        return tf.reduce_mean(x, options["axes"], keepdims=options["keepdims"])
    return tf.nn.softmax(x)
