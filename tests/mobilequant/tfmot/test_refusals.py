"""What cannot be taken over from TFMOT is said, by name, with what to do."""

import sys

import keras
import pytest
import tfmot_models as theirs

import mobilequant as mq

layers = theirs.layers
api = theirs.tfmot.quantization.keras


@pytest.fixture(scope="module")
def untrained():
    return theirs.quantize_model(theirs.sequential())


def test_a_keras_3_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(TypeError, match="Keras 3 model: mobilequant.quantize takes it"):
        mq.from_tfmot(model)


def test_something_else():
    with pytest.raises(TypeError, match="not dict"):
        mq.from_tfmot({})


def test_a_model_that_is_not_quantized():
    with pytest.raises(ValueError, match="not quantized by TFMOT.*quantize_model"):
        mq.from_tfmot(theirs.sequential())


def test_a_model_that_was_not_trained(untrained):
    with pytest.raises(ValueError, match="never trained.*Run fit"):
        mq.from_tfmot(untrained)


def test_a_model_that_is_only_annotated():
    model = api.quantize_annotate_model(theirs.sequential())
    with pytest.raises(ValueError, match="'conv2d.*only marked.*quantize_apply"):
        mq.from_tfmot(model)


def test_a_layer_left_in_float():
    inputs = theirs.tf_keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="float")(inputs)
    x = api.quantize_annotate_layer(layers.Conv2D(4, 3, name="whole"))(x)
    with api.quantize_scope():
        model = api.quantize_apply(theirs.tf_keras.Model(inputs, x))
    theirs.random_images(model, 1, 0)
    for weight in model.weights:
        if "_m" in weight.name:
            weight.assign(weight * 0.5)
    with pytest.raises(ValueError, match="no range for .*the weights of 'float'.*whole model"):
        mq.from_tfmot(model)


class OtherBits(api.QuantizeConfig):
    """4 bits, or a quantizer of the user's own."""

    def __init__(self, quantizer):
        self.quantizer = quantizer

    def get_weights_and_quantizers(self, layer):
        return [(layer.kernel, self.quantizer)]

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_weights(self, layer, weights):
        (layer.kernel,) = weights

    def set_quantize_activations(self, layer, activations):
        pass

    def get_output_quantizers(self, layer):
        return []

    def get_config(self):
        return {"quantizer": self.quantizer}


class Rounded(api.quantizers.Quantizer):
    """A quantizer without a range."""

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        return inputs

    def get_config(self):
        return {}


def with_quantizer(quantizer):
    layer = api.quantize_annotate_layer(layers.Dense(4, name="narrow"), OtherBits(quantizer))
    model = theirs.tf_keras.Sequential([layers.InputLayer((8,)), layer])
    with api.quantize_scope({"OtherBits": OtherBits, "Rounded": Rounded}):
        return api.quantize_apply(model)


def test_other_bits():
    quantizer = api.quantizers.LastValueQuantizer(4, False, True, True)
    with pytest.raises(ValueError, match="'narrow': its weights have 4 bits.*default scheme"):
        mq.from_tfmot(with_quantizer(quantizer))


def test_weights_that_are_not_symmetric():
    quantizer = api.quantizers.LastValueQuantizer(8, False, False, False)
    with pytest.raises(ValueError, match="'narrow': .*not symmetric, the full range"):
        mq.from_tfmot(with_quantizer(quantizer))


def test_a_quantizer_of_the_users_own():
    with pytest.raises(ValueError, match="'narrow': has a quantizer of your own.*Rounded"):
        mq.from_tfmot(with_quantizer(Rounded()))


def test_a_layer_that_keras_3_does_not_have_here(untrained):
    class Special(layers.Layer):
        pass

    model = theirs.tf_keras.Sequential([untrained, Special(name="special")])
    model.build(untrained.input_shape)
    with pytest.raises(ValueError, match="nested(.|\n)*'special': is a Special, which cannot"):
        mq.from_tfmot(model)


def test_paths(tmp_path, untrained):
    with pytest.raises(ValueError, match="no such file"):
        mq.from_tfmot(tmp_path / "none.h5")
    (tmp_path / "other.h5").write_text("nothing")
    with pytest.raises(ValueError, match="other.h5: tf_keras cannot load it"):
        mq.from_tfmot(tmp_path / "other.h5")
    untrained.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="save it as one of these"):
        mq.from_tfmot(tmp_path / "m.keras")


def test_without_the_extra(tmp_path, monkeypatch):
    (tmp_path / "m.h5").write_text("")
    monkeypatch.setitem(sys.modules, "tensorflow_model_optimization", None)
    with pytest.raises(ImportError, match=r'pip install "mobilequant\[tfmot\]"'):
        mq.from_tfmot(tmp_path / "m.h5")
