"""The drawing of a comparison: what it says of tensors that agree, and of those that do not."""

import numpy as np
import pytest

from tflite_tools import agreement_plot
from tflite_tools.agreement import Agreement, FloatAgreement, IndexAgreement
from tflite_tools.verification_report import Verification


def agreement(name, steps=0, dtype=np.int8, values=range(-100, 51)):
    figures = Agreement(name, "CONV_2D")
    got = np.array([values], dtype)
    figures.add(got + dtype(steps), got)
    return figures


def indices(steps=0):
    figures = IndexAgreement("classes", "ARG_MAX")
    figures.add(np.arange(4) + steps, np.arange(4))
    return figures


def floats(error=0.0):
    figures = FloatAgreement("real")
    figures.add(np.ones((1, 3), np.float32), np.full((1, 3), 1 + error, np.float32))
    return figures


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def bars(figure):
    """(smallest, largest) of each bar."""
    boxes = [bar.get_bbox() for bar in figure.axes[0].patches]
    return [(box.x0 + 0.5, box.x1 - 0.5) for box in boxes]


def test_what_agrees_shows_what_it_holds(tmp_path):
    path = tmp_path / "m.png"
    inner = [agreement("stem"), agreement("constant", values=[7, 7]), floats(), indices()]
    drawn = Verification("folder/m.tflite", 5, "default", inner[:1], layers=inner).plot(path)
    assert drawn.get_suptitle() == "m.tflite against Keras, 5 images: every tensor agrees"
    assert texts(drawn) == ["151", "1", "float", "4 indices"]
    assert bars(drawn) == [(-100, 50), (7, 7)]
    assert path.read_bytes()[1:4] == b"PNG"


def test_what_differs_says_by_how_much():
    off = [agreement("stem"), agreement("block", steps=3), floats(0.5), indices(steps=2)]
    drawn = Verification("m.tflite", 5, "default", off).plot()
    assert drawn.get_suptitle().endswith("3 of 4 tensors differ")
    assert texts(drawn) == [
        "151",
        "151; 3 steps, 0 % equal",
        "float; 5e-01 off",
        "4 indices; 0 % equal",
    ]


def test_int16_is_drawn_to_the_scale_of_int8():
    drawn = agreement_plot.draw([agreement("x", dtype=np.int16, values=[-32768, 32512])], "title")
    assert bars(drawn) == [(-128, 127)]


def test_long_names_keep_their_ends():
    drawn = agreement_plot.draw([agreement("model/" + "a" * 40 + "/BiasAdd")], "title")
    (label,) = drawn.axes[0].get_yticklabels()
    assert label.get_text().startswith("…") and label.get_text().endswith("a/BiasAdd")


def test_a_path_that_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match=r"m.jpg must end in .png"):
        agreement_plot.draw([agreement("x")], "title", tmp_path / "m.jpg")
