"""What every layer kind must hold to, for the tests of layers."""

import keras
import numpy as np
import tensorflow as tf

import mobilequant as mq
import tflite_tools
from mobilequant.layers.base import QuantizedLayer
from mobilequant.quantize import freeze
from mobilequant.quantize.graph import ModelGraph


def images(shape=(8, 8, 3), count=16, seed=0, scale=2.0):
    return np.random.default_rng(seed).normal(0.3, scale, (count, *shape)).astype("float32")


def sample(model, count=16, seed=0):
    """Random inputs of a model with one or several."""
    arrays = [
        images(tensor.shape[1:], count, seed + i, 2.0 + i) for i, tensor in enumerate(model.inputs)
    ]
    return arrays if len(arrays) > 1 else arrays[0]


def batches(model, count=16, seed=0):
    """The same as data for calibration, conversion and verification."""
    arrays = sample(model, count, seed)
    if not isinstance(arrays, list):
        return arrays
    return {tensor.name: array for tensor, array in zip(model.inputs, arrays, strict=True)}


def calibrated(model, recipe="w8a8", **options):
    """The model quantized and calibrated."""
    return mq.calibrate(mq.quantize(model, recipe, **options), [sample(model)], verbose=0)


def as_after_training(model, seed=0):
    """Normalizations, biases and slopes that are not where they start."""
    random = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.moving_mean.shape
            if layer.scale:
                layer.gamma.assign(random.uniform(0.5, 2, size) * random.choice([-1, 1], size))
            if layer.center:
                layer.beta.assign(random.normal(size=size))
            layer.moving_mean.assign(random.normal(size=size) * 0.3)
            layer.moving_variance.assign(random.uniform(0.2, 2, size))
        elif getattr(layer, "bias", None) is not None and not isinstance(layer, tf.Module):
            layer.bias.assign(random.normal(size=layer.bias.shape))
        if isinstance(layer, keras.layers.PReLU):
            layer.alpha.assign(random.normal(0, 0.5, layer.alpha.shape))
    return model


def check(
    model,
    tmp_path,
    kinds=None,
    recipe="w8a8",
    target="phone",
    tolerance=0.06,
    training_steps=1.01,
    **options,
):
    """Quantizes, calibrates, converts; every tensor must be equal, and close to float.

    Args:
        model: A float model.
        tmp_path: A folder.
        kinds: The operators that the file must have, counted or not; None for any.
        tolerance: Of the error against float, in terms of the largest output.
        training_steps: How far training at frozen statistics may lie from the integers.

    Returns:
        The quantized model.
    """
    x = sample(model)
    qmodel = calibrated(model, recipe, target=target)
    path = tmp_path / "m.tflite"
    report = tflite_tools.convert(qmodel, path, samples=batches(model, 4, 1), **options)
    if kinds is not None:
        assert (
            dict(report.operators) == kinds
            if isinstance(kinds, dict)
            else (set(report.operators) == set(kinds))
        ), dict(report.operators)
    result = tflite_tools.verify(qmodel, path, batches(model, 16, 2), layers=True)
    assert result.first_difference is None, str(result)
    assert all(layer.span > 20 for layer in result.layers), [str(layer) for layer in result.layers]
    assert all(output.max_steps == 0 for output in result.outputs)
    if tolerance is not None:
        for mine, theirs in zip(outputs(qmodel, x), outputs(model, x), strict=True):
            error = np.abs(mine - theirs).max() / np.abs(theirs).max()
            assert error < tolerance, error
    check_training_form(qmodel, training_steps)
    return qmodel


def outputs(model, x):
    return [np.asarray(y) for y in keras.tree.flatten(model(x, training=False))]


def check_training_form(qmodel, largest=1.01):
    """Training at frozen statistics lies within a step of the integers, layer by layer."""
    mq.set_phase(qmodel, "frozen")
    x = sample(qmodel, 8, 2)
    x = x if isinstance(x, list) else [x]
    tensors = {
        id(tensor): tf.constant(array) for tensor, array in zip(qmodel.inputs, x, strict=True)
    }
    for call in ModelGraph(qmodel).calls:
        inputs = [tensors[id(tensor)] for tensor in call.inputs]
        inputs = inputs if len(inputs) > 1 else inputs[0]
        exact = call.layer(inputs)
        if isinstance(call.layer, QuantizedLayer):
            trained = call.layer(inputs, training=True)
            steps = np.abs(exact - trained) / call.layer.output_quantizer.grid().scale
            assert steps.numpy().max() < largest, (call.name, steps.numpy().max())
        tensors[id(call.outputs[0])] = exact
    mq.set_phase(qmodel, "quantized")


def kinds_of(qmodel):
    return [operator.kind for operator in freeze(qmodel).operators]


def reloaded(qmodel, tmp_path):
    """The model saved and loaded, which must infer the same."""
    qmodel.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    x = sample(qmodel, 4, 3)
    for a, b in zip(outputs(qmodel, x), outputs(loaded, x), strict=True):
        np.testing.assert_array_equal(a, b)
    return loaded
