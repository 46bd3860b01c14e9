"""Two float layers of newer architectures that Keras does not have."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mobilequant")
class LayerScale(keras.layers.Layer):
    """Multiplies each channel by a learned factor: y = γ · x.

    With a small initial γ a residual block begins close to the identity (Touvron et al. 2021,
    arXiv:2103.17239; in MobileNetV4, arXiv:2404.10518).

    Args:
        initial_value: of every γ.

    Attributes:
        gamma: the factors, of shape (channels,).

    Input and output have the same shape, with the channels last.
    """

    def __init__(self, initial_value: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        self.initial_value = initial_value

    def build(self, input_shape):
        self.gamma = self.add_weight(
            name="gamma",
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.initial_value),
        )

    def call(self, inputs):
        return inputs * self.gamma

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "initial_value": self.initial_value}


@keras.saving.register_keras_serializable(package="mobilequant")
class StochasticDepth(keras.layers.Layer):
    """Drops a residual branch for whole examples in training; the identity in inference.

    In training the output is 0 with probability `rate` and x / (1 − rate) otherwise, drawn for
    each example (Huang et al. 2016, arXiv:1603.09382).

    Args:
        rate: probability of dropping the branch, in [0, 1).
        seed: whole number for repeatable draws, or `None`.

    Input and output have the same shape, with the batch first.

    Raises:
        ValueError: `rate` is out of range.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be at least 0 and below 1, got {rate!r}")
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, inputs, training=False):
        if not training or not self.rate:
            return inputs
        one_draw_an_example = (ops.shape(inputs)[0], *(1,) * (len(inputs.shape) - 1))
        return keras.random.dropout(
            inputs, self.rate, noise_shape=one_draw_an_example, seed=self.seed_generator
        )

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
