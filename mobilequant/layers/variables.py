"""Reading variables."""

from keras import ops


def read(variable):
    """The current value of a Keras variable as a plain tensor.

    `ops.convert_to_tensor` may hand over the backend's variable itself, which a custom gradient
    must not see: TensorFlow would ask it for that variable's gradient.
    """
    return ops.reshape(variable, variable.shape)


def scale_gradient(x, factor: float):
    """`x`, with its gradient times `factor`."""
    if factor == 1.0:
        return x

    # Not as a sum of two parts, which would change the last bit of `x`: where a learned range
    # starts at the smallest weight, that bit decides whether this weight is clipped.
    @ops.custom_gradient
    def scaled(x):
        return x, lambda *upstream: upstream[0] * factor

    return scaled(x)
