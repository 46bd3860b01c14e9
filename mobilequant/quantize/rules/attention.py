"""Products of two activations, as attention has them."""

from __future__ import annotations

import keras

from mobilequant import layers
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
