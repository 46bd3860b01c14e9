"""The networks of `keras.applications` through the whole of mobilequant.

    python benchmarks/zoo                      # all, each in a process of its own
    python benchmarks/zoo MobileNetV3Small     # some
    python benchmarks/zoo --list               # what it would measure, and for how long

Each network is trained for a few steps on small sample images (its own weights would need a
download; raw initial ones give outputs that are all but constant), then, at its own input size:
quantized, calibrated, trained for a few steps more, calibrated again, saved, loaded, converted for
a phone, and compared with Keras tensor by tensor, half of it on images that it has not seen. What
is loaded from the saved file is what is converted. Results are written as soon as a network is
done, to results/zoo.json; `tfmot_models.py` makes the same table for TFMOT, `report.py` puts both
side by side.
"""

from __future__ import annotations

import os
import pathlib
import resource
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import models_in_turn  # noqa: E402
from models_in_turn import ModelsInTurn, Stopwatch  # noqa: E402

#: Input sizes of the published weights.
MODELS = {
    "MobileNet": 224,
    "MobileNetV2": 224,
    "MobileNetV3Small": 224,
    "MobileNetV3Large": 224,
    "EfficientNetB0": 224,
    "EfficientNetV2B0": 224,
    "ResNet50": 224,
    "ResNet50V2": 224,
    "DenseNet121": 224,
    "NASNetMobile": 224,
    "Xception": 299,
    "InceptionV3": 299,
    "VGG16": 224,
    "ConvNeXtTiny": 224,
}

#: Networks that scale their images themselves, and take 0 … 255.
SCALING = ("MobileNetV3", "EfficientNet", "ConvNeXt")

#: What stays at its initial weights but for the quantized steps: a dense layer behind Flatten
#: fixes the input's size, at which a few steps take an hour.
UNTRAINED = ("VGG16",)

#: Float training: size of the images and how many at a time.
SIZE, BATCH = 96, 16

#: Images at the network's own size: for calibration and quantized training, and others; all are
#: compared.
CALIBRATION, OTHERS = 16, 16
QUANTIZED_BATCH = 8

#: Batches that settle the statistics of batch normalization at the network's own size.
SETTLING = 8


def main() -> int:
    return ModelsInTurn(
        script=__file__,
        description=__doc__,
        name="zoo",
        models=list(MODELS),
        minutes=5,
        numbers={
            "steps": (30, "float training steps"),
            "quantized_steps": (4, "quantized training steps"),
            "seed": (0, "of weights and batches"),
        },
        settings=lambda: {"training_size": SIZE, "calibration": CALIBRATION, "compared": 16},
        measure=measure,
    ).main()


def measure(name, arguments) -> dict:
    """All figures of one network."""
    import common
    import keras
    import numpy as np

    import mobilequant as mq
    import tflite_tools

    keras.utils.set_random_seed(arguments.seed)
    seconds = Stopwatch()
    model = trained(name, arguments.steps)
    seconds.lap("float_training")
    size = model.input_shape[1]
    images, labels = sample(name, size, CALIBRATION + OTHERS)
    training = images[:CALIBRATION]

    qmodel = mq.quantize(model)
    seconds.lap("quantize")
    mq.calibrate(qmodel, training, batch_size=8, verbose=0)
    seconds.lap("calibrate")
    # Eagerly: a few steps take less time than tracing them.
    qmodel.compile(keras.optimizers.SGD(1e-4), "sparse_categorical_crossentropy", run_eagerly=True)
    repeated = np.resize(np.arange(CALIBRATION), arguments.quantized_steps * QUANTIZED_BATCH)
    qmodel.fit(training[repeated], labels[repeated], QUANTIZED_BATCH, verbose=0)
    seconds.lap("quantized_training")
    # The few batches in training mode reach further than inference does.
    mq.calibrate(qmodel, training, batch_size=8, verbose=0)

    common.WORK.mkdir(parents=True, exist_ok=True)
    saved, path = common.WORK / f"{name}.keras", common.WORK / f"{name}.tflite"
    qmodel.save(saved)
    del qmodel
    qmodel = keras.models.load_model(saved)
    saved.unlink()
    seconds.lap("save_and_load")
    report = tflite_tools.convert(qmodel, path)
    seconds.lap("convert")
    result = tflite_tools.verify(qmodel, path, images, batch_size=4, layers=True)
    seconds.lap("verify")
    logits = result.logits or result.outputs[0]
    return {
        "input_size": size,
        "settling_batches": 0 if name in UNTRAINED else SETTLING,
        "parameters": model.count_params(),
        "int8_bytes": report.size,
        "operators": dict(sorted(report.operators.items())),
        "images_compared": len(images),
        "tensors_compared": len(result.layers),
        "tensors_equal": sum(layer.max_steps == 0 for layer in result.layers),
        "outputs_equal": result.outputs[0].equal,
        "logits_equal": logits.equal,
        "logits_span": logits.span,
        "seconds": seconds.laps,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def trained(name, steps):
    """The network at its own size, with weights and statistics of a network at work."""
    import keras

    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(MODELS[name], MODELS[name], 3))
    if name in UNTRAINED:
        return model
    small = build(weights=None, input_shape=(SIZE, SIZE, 3))
    for layer in small._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            # The statistics of few steps must not be those from before the first.
            layer.momentum = 0.8
        elif type(layer).__name__ == "LayerScale":
            # From 1e-6 a few steps lead nowhere; trained ones lie far above it.
            layer.gamma.assign(0.1 * keras.ops.ones_like(layer.gamma))
    images, labels = sample(name, SIZE, min(500, steps * BATCH))
    small.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", jit_compile=False)
    small.fit(images, labels, BATCH, epochs=-(-steps * BATCH // len(images)), verbose=0)
    model.set_weights(small.get_weights())
    settle(model, name)
    return model


def settle(model, name):
    """Statistics of the network's own size: those of small images leave single ones far off."""
    import keras

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8
    images, _ = sample(name, MODELS[name], SETTLING * QUANTIZED_BATCH)
    for start in range(0, len(images), QUANTIZED_BATCH):
        model(images[start : start + QUANTIZED_BATCH], training=True)


def sample(name, size, count):
    """(images as the network takes them, labels) of ../shared's ImageNet sample."""
    images, labels = models_in_turn.sample(size, count)
    return (images + 1) * 127.5 if name.startswith(SCALING) else images, labels


if __name__ == "__main__":
    sys.exit(main())
