"""Sums, differences and products with a constant."""

from __future__ import annotations

from mobilequant.layers.constants import ConstantOperand, QuantizedConstantOperand
from mobilequant.layers.merging import MERGE_ACTIVATIONS
from mobilequant.quantize.rules.activations import plan_of
from mobilequant.quantize.rules.registry import Rule, register_rule


@register_rule(ConstantOperand)
class ConstantOperandRule(Rule):
    """x + c, x · c and c − x; absorbs a ReLU."""

    def absorbs(self, group, following, context):
        plan = plan_of(following.layer)
        if len(group) > 1 or context.graph.is_shared(following) or plan is None:
            return False
        return plan.behind is None and plan.fused in MERGE_ACTIVATIONS

    def build(self, group, context):
        layer = group[0].layer
        context.require({"add": "ADD", "multiply": "MUL", "subtract_from": "SUB"}[layer.operation])
        return [
            QuantizedConstantOperand(
                layer.operation,
                layer.value,
                plan_of(group[1].layer).fused if len(group) > 1 else "linear",
                activations=context.recipe.outputs,
                name=layer.name,
            )
        ]
