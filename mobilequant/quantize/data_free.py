"""Inputs for calibration without data: noise with the spectrum of photographs, and its limits.

What makes noise good enough is batch normalization: while it runs through, every normalization
normalizes by the statistics of the batch, so that each channel has the mean β and the standard
deviation |γ| that it had over the training data, which is what arXiv:1906.04721, section 4.2.1,
takes ranges from. Layers without a normalization of their own (sums, means, products, classifiers)
get their ranges from what these channels make of them.
"""

from __future__ import annotations

import numbers

import keras
import numpy as np
from keras import ops

from mobilequant.layers import FoldedLayer
from mobilequant.layers.activation_quantizer import NOTHING, observing
from mobilequant.quantize.state import quantized_layers

#: How many images; more widen the ranges a little further.
IMAGES = 64

#: What the models of the garden take, and what `mobilequant.data` gives.
DEFAULT_RANGE = (-1.0, 1.0)

#: Deviations before the first normalization may differ by so large a factor from those in
#: training: a wrong range such as [−1, 1] for [0, 255] differs by 128.
_LARGEST_RATIO = 16.0


def synthetic_batches(qmodel, input_range, batch_size):
    """Batches of noise for a quantized model.

    Args:
        qmodel: The model; it must hold batch normalization.
        input_range: (low, high) of its inputs; None for `DEFAULT_RANGE`.
        batch_size: Images a batch.

    Returns:
        A list of batches.

    Raises:
        ValueError: The model holds no batch normalization, its inputs have no fixed size, or the
            range is not one, or not that of the model.
    """
    normalized = _normalized(qmodel)
    low, high = _checked_range(DEFAULT_RANGE if input_range is None else input_range)
    random = np.random.default_rng(0)
    inputs = [_noise(random, _shape(tensor), low, high) for tensor in qmodel.inputs]
    if len(inputs) == 1 and input_range is None:
        _check_scale(qmodel, normalized, inputs[0][:8])
    batches = []
    for start in range(0, IMAGES, batch_size):
        parts = [array[start : start + batch_size] for array in inputs]
        batches.append(parts if len(parts) > 1 else parts[0])
    return batches


def pink_noise(random, shape, low, high):
    """An image whose amplitudes fall with the frequency, as those of photographs do.

    D. J. Field, "Relations between the statistics of natural images and the response properties
    of cortical cells", JOSA A 4(12), 1987. Slope, contrast, brightness and tint differ from image
    to image; its channels are correlated.

    Args:
        random: A `numpy.random.Generator`.
        shape: Sizes, channels last; without sizes the values are independent.
        low, high: What it is clipped to.

    Returns:
        float32 array.
    """
    *sizes, channels = shape
    white = random.normal(size=(channels, *sizes))
    if sizes:
        white = _coloured(white, random.uniform(0.7, 1.3))
        white = 0.9 * white[:1] + np.sqrt(1 - 0.9**2) * white
    brightness = random.normal(0.0, 0.3) + random.normal(0.0, 0.1, (channels, *[1] * len(sizes)))
    unit = np.clip(white * random.uniform(0.2, 0.6) + brightness, -1.0, 1.0)
    return np.moveaxis((low + high) / 2 + unit * (high - low) / 2, 0, -1).astype("float32")


def _coloured(white, slope):
    axes = tuple(range(1, white.ndim))
    sizes = white.shape[1:]
    squares = np.meshgrid(*[np.fft.fftfreq(size) ** 2 for size in sizes], indexing="ij")
    frequency = np.sqrt(sum(squares))
    frequency.flat[0] = np.inf  # no mean: brightness comes apart
    spectrum = np.fft.fftn(white, axes=axes) * frequency**-slope
    coloured = np.fft.ifftn(spectrum, axes=axes).real
    return coloured / (coloured.std(axis=axes, keepdims=True) + 1e-12)


def _noise(random, shape, low, high):
    images = np.stack([pink_noise(random, shape, low, high) for _ in range(IMAGES)])
    # The model's own range is known: it is not for noise to find.
    images[0].flat[0], images[0].flat[-1] = low, high
    return images


def _normalized(qmodel):
    """The layers with batch normalization."""
    weighted = [layer for layer in quantized_layers(qmodel) if isinstance(layer, FoldedLayer)]
    found = [layer for layer in weighted if layer.normalization is not None]
    if not found:
        names = [repr(layer.name) for layer in weighted]
        raise ValueError(
            f"Model {qmodel.name!r} cannot be calibrated without data: ranges would come from the "
            f"statistics of batch normalization, and none of its layers has one "
            f"({', '.join(names[:5])}{', …' if len(names) > 5 else ''}). Calibrate with images."
        )
    return found


def _shape(tensor):
    shape = tuple(tensor.shape[1:])
    if None in shape:
        raise ValueError(
            f"Input {tensor._keras_history.operation.name!r} has an unknown size {shape}: "
            "calibration without data needs a fixed input_shape."
        )
    return shape


def _checked_range(input_range):
    ends = tuple(input_range) if isinstance(input_range, (tuple, list)) else ()
    numbers_only = all(isinstance(end, numbers.Real) and np.isfinite(end) for end in ends)
    if len(ends) != 2 or not numbers_only or not ends[0] < ends[1]:
        raise ValueError(
            "input_range is (lowest, highest) of what the model takes, such as (-1, 1) or "
            f"(0, 255); not {input_range!r}."
        )
    return float(ends[0]), float(ends[1])


def _check_scale(qmodel, normalized, images):
    """Raises ValueError where the first normalization was trained on other inputs."""
    first = normalized[0]
    if first.borrows:
        return
    before = keras.Model(qmodel.inputs, first._inbound_nodes[0].input_tensors[0])
    with observing(NOTHING):
        x = before([images], training=False)
    y = first.product(x, first.restore_kernel(first.flat_kernel()))
    found = float(ops.mean(ops.std(y, axis=list(range(len(y.shape) - 1)))))
    trained = float(ops.mean(ops.sqrt(first.normalization.moving_variance)))
    ratio = trained / max(found, 1e-12)
    if not 1 / _LARGEST_RATIO < ratio < _LARGEST_RATIO:
        raise ValueError(
            f"Model {qmodel.name!r} was not trained on inputs from -1 to 1: the batch "
            f"normalization of layer {first.name!r} has seen {ratio:.3g} times the deviation that "
            "these give. Pass input_range=(lowest, highest), what the model takes: (0, 255) for "
            "raw pixels."
        )
