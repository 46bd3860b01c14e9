"""Whether a comparison of model and file keeps what the target promises."""

from __future__ import annotations


def first_breach(qmodel, agreement) -> str | None:
    """What lies further from Keras than the target allows, or `None`.

    Args:
        qmodel: The quantized model.
        agreement: What `tflite_tools.verify` returned.
    """
    from mobilequant import targets
    from mobilequant.quantize import freeze

    limits = targets.get(freeze(qmodel).target).max_steps
    logits = [agreement.logits] if agreement.logits else []
    for figures in [*(agreement.layers or []), *logits, *agreement.outputs]:
        allowed = limits.get(figures.kind, limits["default"])
        if figures.max_steps > allowed:
            return (
                f"{figures.name} ({figures.kind}) lies up to {figures.max_steps} steps from "
                f"Keras' integers, {allowed} allowed"
            )
    return None
