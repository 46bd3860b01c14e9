"""The same code on Keras' JAX backend: the outputs, gradients and steps of TensorFlow."""

import backend_cases
import numpy as np
import pytest

#: Of the largest value of a tensor.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def results(start, tmp_path_factory):
    """(TensorFlow, JAX)."""
    inputs = backend_cases.draw_inputs()
    path = tmp_path_factory.mktemp("inputs") / "inputs.npz"
    np.savez(path, **inputs)
    jax = start("jax", "backend_cases.py", path)
    return backend_cases.compute(inputs), jax.results()


def differences(results, prefix, floor=1e-12):
    """|TensorFlow − JAX| of every tensor by name, in parts of its largest value or `floor`."""
    ours, theirs = results
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if name.startswith(prefix):
            assert value.shape == theirs[name].shape and np.all(np.isfinite(theirs[name])), name
            largest = max(np.abs(value).max(initial=0.0), floor)
            yield name, np.abs(value.astype("float64") - theirs[name]) / largest


@pytest.mark.parametrize("kind", ["weights", "activations"])
def test_every_scheme_gives_the_same_values_and_gradients(results, kind):
    far, count = 0, 0
    for name, difference in differences(results, f"{kind}/"):
        if difference.ndim == 0:
            # The gradient of a learned range adds up the noise q − f of all elements, and of that
            # difference of two numbers up to 255 the last digits are lost.
            assert difference <= 5 * TOLERANCE, name
            continue
        far += np.sum(difference > TOLERANCE)
        count += difference.size
    assert count > 100_000
    # An element may lie where the last bit decides which way it rounds.
    assert far <= count / 10_000


def test_a_model_in_float_has_the_same_loss_and_gradients(results):
    # Batch normalization takes away most of a gradient that comes from averages over space;
    # what is left has lost a digit. Biases before it have none at all.
    for name, difference in differences(results, "model/float/", floor=1e-2):
        assert np.all(difference <= 5 * TOLERANCE), name


@pytest.mark.parametrize("model", ["w8a8", "w4a4 lsq", "w1a1"])
def test_a_quantized_model_has_the_same_loss_and_gradients(results, model):
    # One value of some thousands that rounds the other way changes its layer's range and all that
    # follows: by a step of 8 bits, 1/255, at most.
    for name, difference in differences(results, f"model/{model}/gradients/", floor=1e-2):
        assert np.quantile(difference, 0.98, method="lower") <= 6e-3, name


@pytest.mark.parametrize("model", ["w8a8", "w4a4 lsq"])
def test_fit_leads_to_the_same_model(results, model):
    for name, difference in differences(results, f"model/{model}/fit/", floor=1e-2):
        assert np.all(difference <= 1e-3), name


def test_callbacks_set_the_phase_in_the_middle_of_an_epoch(results):
    for phases in (part["phases"] for part in results):
        np.testing.assert_array_equal(phases, [0, 0, 1, 1, 2, 2, 2, 2])


def test_inference_on_integers_is_the_same_to_the_bit(results):
    ours, theirs = (part["inference/0"] for part in results)
    assert np.unique(ours).size > 30
    np.testing.assert_array_equal(ours, theirs)


def test_rounding_is_learned_alike(results):
    rounded = list(differences(results, "reconstruction/"))
    assert len(rounded) == 4
    # A weight that is undecided to the end may go the other way.
    for name, difference in rounded:
        assert np.mean(difference <= TOLERANCE) >= 0.98, name
