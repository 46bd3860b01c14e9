"""Files that end in class indices: ARG_MAX, int32 out."""

import keras
import numpy as np
import pytest

import mobilequant as mq
import tflite_tools
from mobilequant.quantize import infer_integers
from tflite_tools.interpreter import Interpreter


def images(count=8, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 16, 16, 3)).astype("float32")


def segmenter(ending, both=False):
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    logits = keras.layers.Conv2D(5, 1, name="scores")(x)
    x = keras.layers.Resizing(16, 16, interpolation="bilinear", name="logits")(logits)
    x = ending(x)
    return keras.Model(image, [x, logits] if both else x)


ENDINGS = {
    "layer": mq.layers.ArgMax(name="classes"),
    "operator": lambda x: keras.ops.argmax(x, axis=-1),
    "rows": lambda x: keras.ops.argmax(x, 1),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("interface", ["int8", "uint8"])
def test_the_file_gives_the_indices_of_keras(ending, interface, tmp_path):
    model = segmenter(ENDINGS[ending])
    qmodel = mq.calibrate(mq.quantize(model), images(), verbose=0)
    path = tmp_path / "m.tflite"
    report = tflite_tools.convert(qmodel, path, interface=interface)
    assert f"{interface} in, int32 out" in str(report)
    assert report.operators["ARG_MAX"] == 1 and report.float_operators == {}
    result = tflite_tools.verify(qmodel, path, images(16, 1), layers=True)
    assert result.first_difference is None and result.equal == 1
    assert result.outputs[0].distinct >= 4
    (port,) = Interpreter(path.read_bytes()).outputs
    assert port.dtype == np.int32 and port.shape == (1, 16, 5 if ending == "rows" else 16)
    (indices,) = infer_integers(qmodel, images(2))
    assert indices.dtype == np.int32
    agreement = np.mean(indices == keras.ops.convert_to_numpy(model(images(2))))
    assert agreement > 0.9
    qmodel.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    np.testing.assert_array_equal(infer_integers(loaded, images(2))[0], indices)


def test_scores_and_indices_of_one_file(tmp_path):
    qmodel = mq.calibrate(mq.quantize(segmenter(ENDINGS["layer"], both=True)), images(), verbose=0)
    path = tmp_path / "m.tflite"
    tflite_tools.convert(qmodel, path)
    result = tflite_tools.verify(qmodel, path, images(4, 1))
    assert [output.max_steps for output in result.outputs] == [0, 0]
    indices, scores = Interpreter(path.read_bytes()).outputs
    assert indices.scale is None and scores.dtype == np.int8


def test_differences_of_indices_count_whole():
    figures = tflite_tools.agreement.IndexAgreement("classes")
    figures.add(np.array([0, 3, 700]), np.array([0, 9, 700]))
    assert figures.max_steps == 1 and figures.breaks
    assert figures.equal == figures.within_one_step == pytest.approx(2 / 3)
    assert (figures.smallest, figures.largest, figures.distinct) == (0, 700, 3)


@pytest.mark.parametrize("options", [{"axis": None}, {"axis": 0}, {"axis": -1, "keepdims": True}])
def test_other_indices_are_refused_by_name(options):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.ops.argmax(keras.layers.Conv2D(4, 1)(image), **options))
    with pytest.raises(ValueError, match=r"argmax.*(index|batch)"):
        mq.quantize(model)
