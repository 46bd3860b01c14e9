"""Every model of the garden: size, conversion, agreement with Keras, latency beside float.

    python benchmarks/garden.py                          # all, each in a process of its own
    python benchmarks/garden.py MobileNetV3Small         # some
    python benchmarks/garden.py --list                   # what it would measure, and for how long

Each model is trained for a few steps on small sample images (real weights would need a download;
raw initial ones give outputs that are all but constant), calibrated at its own input size,
converted for a phone, compared with Keras tensor by tensor, and timed in turn with the float file
that TensorFlow's converter makes of the same model, on one thread. Results are written as soon as
a model is done: results/garden.json; `mobilequant models` prints the table.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from models_in_turn import ModelsInTurn, sample  # noqa: E402

#: Rows of the table: name, builder, options.
MODELS = {
    "MobileNetV1": ("MobileNetV1", {}),
    "MobileNetV2": ("MobileNetV2", {}),
    "MobileNetV3Small": ("MobileNetV3Small", {}),
    "MobileNetV3Small minimalistic": ("MobileNetV3Small", {"minimalistic": True}),
    "MobileNetV3Large": ("MobileNetV3Large", {}),
    "MobileNetV3Large minimalistic": ("MobileNetV3Large", {"minimalistic": True}),
    "MobileNetEdgeTPU": ("MobileNetEdgeTPU", {}),
    "MobileNetMultiAVG": ("MobileNetMultiAVG", {}),
    "MobileNetMultiMAX": ("MobileNetMultiMAX", {}),
    "MobileNetMultiAVGSeg": ("MobileNetMultiAVGSeg", {}),
    "MobileNetMultiMAXSeg": ("MobileNetMultiMAXSeg", {}),
    "MobileNetV4ConvSmall": ("MobileNetV4ConvSmall", {}),
    "MobileNetV4ConvMedium": ("MobileNetV4ConvMedium", {}),
    "MobileNetV4ConvMediumSeg": ("MobileNetV4ConvMediumSeg", {}),
    "MobileNetV4ConvLarge": ("MobileNetV4ConvLarge", {}),
    "MobileNetV4HybridMedium": ("MobileNetV4HybridMedium", {}),
    "MobileNetV4HybridLarge": ("MobileNetV4HybridLarge", {}),
}

#: Training: size of the images, how many at a time.
TRAINING_SIZE, BATCH = 96, 16

#: Images at the model's own size for calibration, and others for the comparison with Keras.
CALIBRATION, COMPARED = 16, 16


def main() -> int:
    return ModelsInTurn(
        script=__file__,
        description=__doc__,
        name="garden",
        models=list(MODELS),
        minutes=2,
        numbers={
            "steps": (30, "training steps of each model"),
            "seed": (0, "of weights and batches"),
            "runs": (60, "timed runs of each file"),
        },
        settings=lambda: {"training_size": TRAINING_SIZE, "compared": COMPARED},
        measure=measure,
        finished=pack,
    ).main()


def pack(results):
    """Writes what `mobilequant models` prints: figures that do not depend on the machine."""
    figures = ("input_size", "parameters", "multiply_adds", "int8_bytes", "edgetpu_share")
    table = [
        {
            "name": name,
            "builder": MODELS[name][0],
            "options": MODELS[name][1],
            **{figure: entry[figure] for figure in figures},
        }
        for name, entry in results.items()
    ]
    text = json.dumps(table, indent=1) + "\n"
    (ROOT / "mobilequant" / "models" / "table.json").write_text(text, encoding="utf-8")


def measure(name, arguments) -> dict:
    """All figures of one model."""
    import common
    import keras

    import mobilequant as mq
    import tflite_tools

    keras.utils.set_random_seed(arguments.seed)
    builder, options = MODELS[name]
    build = getattr(mq.models, builder)
    images, labels = sample(TRAINING_SIZE, 500)
    small = build((TRAINING_SIZE, TRAINING_SIZE, 3), **options, batch_norm_momentum=0.8)
    train(small, images, labels, arguments.steps)

    model = build(**options)
    model.set_weights(small.get_weights())
    size = model.input_shape[1]
    images, _ = sample(size, CALIBRATION + COMPARED)
    started = time.perf_counter()
    qmodel = mq.quantize(model)
    quantized_s = time.perf_counter() - started
    mq.calibrate(qmodel, images[:CALIBRATION], batch_size=8, verbose=0)
    common.WORK.mkdir(parents=True, exist_ok=True)
    stem = name.replace(" ", "_")
    path, float_path = common.WORK / f"{stem}.tflite", common.WORK / f"{stem}_float.tflite"
    started = time.perf_counter()
    report = tflite_tools.convert(qmodel, path)
    converted_s = time.perf_counter() - started
    result = tflite_tools.verify(qmodel, path, images[CALIBRATION:], batch_size=4, layers=True)
    float_path.write_bytes(float_file(model))
    latency = tflite_tools.benchmark(path, float_path, runs=arguments.runs)
    integer, floating = latency.files
    counts = mq.models.count(model)
    logits = result.logits or result.outputs[0]
    return {
        "input_size": size,
        "parameters": counts.parameters,
        "multiply_adds": counts.multiply_adds,
        "int8_bytes": report.size,
        "operators": dict(sorted(report.operators.items())),
        "edgetpu_share": edgetpu_share(path),
        "quantize_s": round(quantized_s, 1),
        "convert_s": round(converted_s, 1),
        "tensors_compared": len(result.layers),
        "tensors_equal": sum(layer.max_steps == 0 for layer in result.layers),
        "logits_equal": logits.equal,
        "logits_span": logits.span,
        "int8_ms": integer.median,
        "float_ms": floating.median,
        "speedup": floating.median / integer.median,
    }


def train(model, images, labels, steps):
    """A few steps, so that weights and statistics are those of a network at work."""
    import keras

    for layer in model.layers:
        if type(layer).__name__ == "LayerScale":
            # From 1e-5 a few steps lead nowhere; trained ones lie far above it.
            layer.gamma.assign(0.1 * keras.ops.ones_like(layer.gamma))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", jit_compile=False)
    epochs = -(-steps * BATCH // len(images))
    model.fit(images[: steps * BATCH], labels[: steps * BATCH], BATCH, epochs=epochs, verbose=0)


def float_file(model) -> bytes:
    """The same model in float32, by TensorFlow's own converter, batch 1."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    shape = (1, *model.input_shape[1:])
    function = tf.function(lambda x: model(x, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec(shape, tf.float32))
    # Left as variables, weights are read and normalizations computed anew at every inference.
    frozen = convert_variables_to_constants_v2(concrete)
    return tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()


def edgetpu_share(path) -> float:
    """Share of a file's operators that the Edge TPU maps."""
    import tflite_tools

    return tflite_tools.edgetpu.plan(path, compile=False).share


if __name__ == "__main__":
    sys.exit(main())
