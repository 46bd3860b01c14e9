"""Layers that compute on raw integers and give them back on the grid on which they came.

Means over windows and interpolation: the device demands one grid for input and output, and
rounds. There is nothing to learn and no range: the grid is that of the layer before.
"""

from __future__ import annotations

import keras
from keras import ops

from mobilequant.integer import arithmetic
from mobilequant.layers.activation_quantizer import observation_method, simulated_parts
from mobilequant.layers.base import QuantizedLayer
from mobilequant.layers.frozen import as_image
from mobilequant.layers.moving import pool, pool_geometry, resize


class GridKeeper(QuantizedLayer):
    """Base class.

    In training it computes what the stock layer computes; the rounding, half a step at most,
    comes in inference. A subclass has `integers(x)` and `operators(source, output)`.

    Args:
        layer: The stock Keras layer.
    """

    keeps_grid = True

    def __init__(self, layer, **kwargs):
        kwargs.setdefault("name", layer.name)
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape=None):
        self.built = True

    def compute_output_shape(self, input_shape):
        return tuple(self.layer.compute_output_shape(input_shape))

    def get_config(self):
        return {
            **super().get_config(),
            "layer": keras.saving.serialize_keras_object(self.layer),
        }

    @classmethod
    def from_config(cls, config):
        layer = config["layer"]
        if isinstance(layer, dict):
            layer = keras.saving.deserialize_keras_object(layer)
        return cls(**{**config, "layer": layer})

    @property
    def output_quantizer(self):
        """That of the layer on whose grid the input lies."""
        return self._links.sources[0].output_quantizer if self._links.sources else None

    @property
    def quantizers(self):
        return []

    def obstacle(self):
        return None

    @property
    def infers_integers(self):
        return bool(self._links.sources) and super().infers_integers

    def call(self, inputs, training=None):
        in_float = observation_method() is not None or simulated_parts() is not None
        if training or in_float or not self.infers_integers:
            return self._stock(inputs)
        return super().call(inputs, training=False)

    def infer_float(self, x, observing):
        return self._stock(x)

    def _stock(self, x):
        # Not by calling the layer: that of `Resizing` would have all layers behind it train.
        return self.layer.call(x)

    def infer_integer(self, x):
        (grid,) = self.input_grids()
        return self.integers(x, grid)

    def freeze(self, inputs, output_shape):
        output = self.describe_output(output_shape)
        return self.operators(inputs[0], output), output

    def integers(self, x, grid):
        """Centred integers to centred integers."""
        raise NotImplementedError

    def operators(self, source, output):
        """The frozen operators."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedAveragePooling(GridKeeper):
    """A quantized `AveragePooling1D` or `AveragePooling2D`: AVERAGE_POOL_2D on the device."""

    def integers(self, x, grid):
        options = pool_geometry(self.layer)
        options["padding"] = options["padding"].lower()
        if len(x.shape) == 4:
            return arithmetic.average_pool(x, grid, **options)
        return ops.squeeze(arithmetic.average_pool(ops.expand_dims(x, 1), grid, **options), 1)

    def operators(self, source, output):
        options = pool_geometry(self.layer)
        return pool("AVERAGE_POOL_2D", self.name, source, output, options)


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedBilinearResizing(GridKeeper):
    """A quantized `UpSampling2D` or `Resizing`, bilinear: RESIZE_BILINEAR on the device."""

    def integers(self, x, grid):
        size = self.compute_output_shape(tuple(x.shape))[1:3]
        return arithmetic.resize_bilinear(x, size, half_pixel_centers=True)

    def operators(self, source, output):
        image, size = as_image(source.shape), tuple(output.shape[:2])
        return resize("RESIZE_BILINEAR", self.name, source, output, image, size)
