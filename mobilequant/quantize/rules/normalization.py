"""Batch normalization without an operator to fold into."""

from __future__ import annotations

import keras
import numpy as np

from mobilequant.quantize.rules.registry import Unsupported, register_rule
from mobilequant.quantize.rules.weighted import DepthwiseConv2DRule
from mobilequant.quantizers import Scheme


@register_rule(keras.layers.BatchNormalization)
class BatchNormalizationRule(DepthwiseConv2DRule):
    """A factor and an offset for each channel: a depthwise convolution of size 1×1 with ones.

    At 8 bits its weights, one a channel, are exact.
    """

    def absorbs(self, group, following, context):
        if context.flows_in_float:
            return False
        return super().absorbs(group, following, context)

    def is_bare(self, head):
        return True

    def behind(self, group):
        return group

    def weights(self, group, context):
        return Scheme(bits=8, estimator="ste", granularity=self.granularity(context))

    def changes(self, group, context):
        return {}

    def stock_layer(self, group, changes):
        (tensor,) = group[0].inputs
        return _ones(tensor.shape, group[0].layer.name)

    def build(self, group, context, **changes):
        call = group[0]
        if context.flows_in_float:
            raise Unsupported("flows in float.")
        rank = len(call.inputs[0].shape)
        if rank != 4:
            raise Unsupported(
                f"batch normalization of {rank} dimensions without a convolution before it has "
                "no rule yet."
            )
        return super().build(group, context, **changes)


def _ones(shape, name):
    layer = keras.layers.DepthwiseConv2D(1, use_bias=False, name=f"{name}_identity")
    layer.build((None, *shape[1:]))
    layer.kernel.assign(np.ones(layer.kernel.shape, "float32"))
    layer.trainable = False
    return layer
