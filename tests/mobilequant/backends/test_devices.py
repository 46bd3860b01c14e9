"""Two devices under the engines that exist train as one does with the same global batch."""

import device_cases
import numpy as np
import pytest

#: Each engine compiles every case for one device and for two, which takes minutes.
pytestmark = pytest.mark.slow

ENGINES = ["tensorflow", "jax"]
SPLITS = list(device_cases.SPLITS)


@pytest.fixture(scope="module")
def results(start):
    """By engine: {case: {"one", "two", "replicas": {variable or output: array}}}."""

    def by_case(flat):
        nested = {}
        for key, value in flat.items():
            case, kind, name = key.split("|")
            nested.setdefault(case, {}).setdefault(kind, {})[name] = value
        return nested

    # Together, since each waits for one core only.
    scripts = {engine: start(engine, "device_cases.py") for engine in ENGINES}
    return {engine: by_case(script.results()) for engine, script in scripts.items()}


MODELS = [
    (engine, model)
    for engine in ENGINES
    for model in list(device_cases.MODELS)[: 3 if engine == "tensorflow" else 2]
]


@pytest.mark.parametrize(("engine", "model"), MODELS)
def test_fit_on_two_devices_is_fit_on_one(results, engine, model):
    case = results[engine][model]
    assert case["one"].keys() == case["two"].keys()
    assert any(name.endswith("/range") for name in case["one"])
    assert any(name.endswith("/moving_variance") for name in case["one"])
    for name, value in case["one"].items():
        # Sums in another order; at 8 bits one may round the other way, a step of 1/255 then.
        tolerance = 1e-3 * max(np.abs(value).max(), 0.01)
        np.testing.assert_allclose(case["two"][name], value, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(("engine", "model"), MODELS)
def test_all_devices_hold_the_same_variables(results, engine, model):
    for name, value in results[engine][model]["replicas"].items():
        assert value.shape[0] == 2, name
        np.testing.assert_array_equal(value[0], value[1], err_msg=name)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("layer", [*device_cases.ACTIVATIONS, "normalization True"])
def test_replicas_compute_what_the_whole_batch_would(results, layer, split):
    """Values, gradients and moving statistics, with parts of any size."""
    case = results["tensorflow"][f"{layer}, {split}"]
    for name, value in case["one"].items():
        tolerance = 1e-5 * max(np.abs(value).max(), 1e-3)
        np.testing.assert_allclose(case["two"][name], value, rtol=0, atol=tolerance, err_msg=name)
    for name, value in case["replicas"].items():
        np.testing.assert_array_equal(value[0], value[1], err_msg=name)


@pytest.mark.parametrize("split", SPLITS)
def test_without_synchronization_only_the_moving_statistics_are_shared(results, split):
    case = results["tensorflow"][f"normalization False, {split}"]
    one, two, replicas = case["one"], case["two"], case["replicas"]
    # Each replica normalizes with its own part, as Keras' layer does.
    assert np.array_equal(one["0"], two["0"]) == (split == "empty")
    np.testing.assert_allclose(two["moving_mean"], one["moving_mean"], atol=1e-6)
    for name, value in replicas.items():
        np.testing.assert_array_equal(value[0], value[1], err_msg=name)
