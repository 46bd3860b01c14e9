"""Whether a comparison of model and file keeps what the target promises."""

from __future__ import annotations


def first_breach(agreement) -> str | None:
    """What lies further from Keras than the target allows, or `None`.

    Args:
        agreement: What `tflite_tools.verify` returned.
    """
    figures = agreement.breach
    if figures is None:
        return None
    return (
        f"{figures.name} ({figures.kind}) lies up to {figures.distance} from Keras', "
        f"{figures.allowance} allowed"
    )
