"""Float layers of newer architectures that stock Keras lacks: layer scale, stochastic depth."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mobilequant")
class LayerScale(keras.layers.Layer):
    """Multiplies every channel by a learned factor (arXiv:2103.17239, section 3).

    Args:
        initial: Factor at the start.

    Attributes:
        gamma: The factors, (channels,).
    """

    def __init__(self, initial=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.initial = float(initial)

    def build(self, input_shape):
        self.gamma = self.add_weight(
            name="gamma",
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.initial),
        )
        self.built = True

    def call(self, x):
        return x * ops.cast(self.gamma, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "initial": self.initial}


@keras.saving.register_keras_serializable(package="mobilequant")
class StochasticDepth(keras.layers.Layer):
    """Drops a residual branch for whole images in training (arXiv:1603.09382).

    Kept branches are divided by the share kept, so that the mean stays; inference changes nothing.

    Args:
        rate: Share of images whose branch is dropped, in [0, 1).
        seed: Of the random numbers.

    Raises:
        ValueError: A rate outside [0, 1).
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"Layer {self.name!r}: rate must be at least 0 and below 1: {rate!r}.")
        self.rate = float(rate)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, x, training=False):
        if not training or not self.rate:
            return x
        shape = (ops.shape(x)[0], *([1] * (len(x.shape) - 1)))
        kept = keras.random.uniform(shape, seed=self.generator) >= self.rate
        return ops.where(kept, x / (1.0 - self.rate), ops.zeros_like(x))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
