"""The activations that a row of a table can name, as layers."""

import keras

ACTIVATIONS = {
    "relu": lambda name: keras.layers.ReLU(name=name),
    "relu6": lambda name: keras.layers.ReLU(max_value=6.0, name=name),
    "hard_swish": lambda name: keras.layers.Activation("hard_silu", name=name),
    # The exact one, by the error function, as in the sources; not the tanh approximation.
    "gelu": lambda name: keras.layers.Activation("gelu", name=name),
}


def activate(x, activation: str, name: str):
    """The activation as a layer on `x`.

    Args:
        x: symbolic tensor.
        activation: a key of `ACTIVATIONS`.
        name: of the layer.

    Raises:
        ValueError: there is no such activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation={activation!r} must be one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[activation](name)(x)
