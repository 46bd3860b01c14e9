"""Models quantized with TensorFlow's Model Optimization Toolkit (TFMOT) become ours."""

from mobilequant.tfmot.importing import from_tfmot

__all__ = ["from_tfmot"]
