"""MobileNets as plain Keras models: tables of blocks (`mobilenet_v2.py`) and one builder.

The models hold only stock Keras layers, so they train, save and load like any other Keras model;
`mobilequant.quantize` turns them, and anybody else's, into quantized ones.
"""

from mobilequant.models.mobilenet_v2 import MobileNetV2

__all__ = ["MobileNetV2"]
