"""The networks of `tf_keras.applications` through TFMOT, and through `mobilequant.from_tfmot`.

    python benchmarks/zoo/tfmot_models.py               # what is missing, each in a process
    python benchmarks/zoo/tfmot_models.py MobileNetV2   # some, again
    python benchmarks/zoo/tfmot_models.py --list        # what it would measure, and for how long

Needs `pip install -e '.[tfmot]'`. Every network is built with random weights and without its
softmax (probabilities of a thousand classes are a few integers) at the input size of its published
weights. What `quantize_model` accepts is trained in float for a few steps on small sample images,
quantized, and run in training mode on some batches, from which its ranges are taken: a moving
average of TFMOT's starts at −6 and 6 and needs thousands of steps to forget them, so what is left
of them is subtracted. Then TensorFlow's converter writes the file, and its outputs are compared
with those of the TFMOT model in Keras, and with those of the file that `from_tfmot` leads to.
Results are written as soon as a network is done, to results/zoo_tfmot.json.
"""

from __future__ import annotations

import collections
import os
import pathlib
import resource
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import common  # noqa: E402
from models_in_turn import ModelsInTurn, Stopwatch, sample  # noqa: E402

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

#: Float training: size of the images and how many at a time.
SIZE, BATCH = 96, 16

#: Networks that stay at their initial weights: a dense layer behind Flatten fixes the input's
#: size, at which a few steps take an hour.
UNTRAINED = ("VGG16",)

#: Batches of training-mode passes, how often they are gone through, and images to compare on.
PASSES, ROUNDS, PASS_BATCH, COMPARED = 4, 2, 4, 16

DECAY = 0.999


def main() -> int:
    return ModelsInTurn(
        script=__file__,
        description=__doc__,
        name="zoo_tfmot",
        models=list(MODELS),
        minutes=3,
        numbers={
            "steps": (20, "float training steps"),
            "seed": (0, "of weights and batches"),
        },
        settings=lambda: {
            "training_size": SIZE,
            "passes": PASSES * ROUNDS,
            "pass_batch": PASS_BATCH,
            "compared": COMPARED,
            **common.versions("tf_keras", "tensorflow-model-optimization"),
        },
        measure=measure,
        missing_only=True,
    ).main()


def measure(name, arguments) -> dict:
    """All figures of one network."""
    from mobilequant.tfmot.loading import libraries

    tf_keras, tfmot = libraries()
    tf_keras.utils.set_random_seed(arguments.seed)
    seconds = Stopwatch()
    size = MODELS[name]
    model = build(tf_keras, name, size)
    figures = {"input_size": size, "parameters": model.count_params()}
    try:
        tfmot.quantization.keras.quantize_model(model)
    except Exception as error:  # whatever it raises is the result
        return {**figures, "quantize_model": first_line(error), "seconds": seconds.laps}
    if name not in UNTRAINED:
        model.set_weights(trained_weights(tf_keras, name, arguments.steps))
    seconds.lap("float_training")
    qmodel = tfmot.quantization.keras.quantize_model(model)
    seconds.lap("quantize")
    figures |= {"quantize_model": "accepted", "float_training": name not in UNTRAINED}
    images, _ = sample(size, PASSES * PASS_BATCH + COMPARED)
    find_ranges(qmodel, images[:-COMPARED])
    seconds.lap("passes")
    try:
        data = convert(qmodel)
    except Exception as error:
        return {**figures, "converts": first_line(error), "seconds": seconds.laps}
    seconds.lap("convert")
    testing = images[-COMPARED:]
    figures |= {"converts": "yes", "bytes": len(data), **contents(data)}
    results, scale, zero_point = run(data, testing)
    figures |= compare(results, steps(qmodel.predict(testing, 4, verbose=0), scale, zero_point))
    seconds.lap("compare")
    figures["from_tfmot"] = ours(qmodel, name, testing, results, scale, zero_point)
    seconds.lap("from_tfmot")
    figures["seconds"] = seconds.laps
    figures["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return figures


def build(tf_keras, name, size):
    network = getattr(tf_keras.applications, name)
    return network(weights=None, input_shape=(size, size, 3), classifier_activation=None)


def first_line(error) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"[:300]


def trained_weights(tf_keras, name, count):
    """Weights and statistics of a network at work."""
    small = build(tf_keras, name, SIZE)
    for layer in small.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            # The statistics of few steps must not be those from before the first.
            layer.momentum = 0.8
    images, labels = sample(SIZE, min(500, count * BATCH))
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    small.compile(tf_keras.optimizers.Adam(1e-3), loss, jit_compile=False)
    small.fit(images, labels, BATCH, epochs=-(-count * BATCH // len(images)), verbose=0)
    return small.get_weights()


def find_ranges(qmodel, images):
    """Sets the moving ranges to the averages over batches, as long training would."""
    ranges = [
        weight
        for weight in qmodel.weights
        if weight.name.split("/")[-1].startswith(
            ("post_activation_m", "pre_activation_m", "output_m")
        )
    ]
    for _ in range(ROUNDS):
        starts = [weight.numpy().astype("float64") for weight in ranges]
        for i in range(PASSES):
            qmodel(images[i * PASS_BATCH : (i + 1) * PASS_BATCH], training=True)
        left = DECAY**PASSES
        for weight, start in zip(ranges, starts, strict=True):
            weight.assign((weight.numpy() - start * left) / (1 - left))


def convert(qmodel) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(qmodel)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


def contents(data) -> dict:
    """Operators of a file, and those that compute in float."""
    from tflite_tools import flatbuffer

    model = flatbuffer.parse(data, "TFMOT's file")
    main = model.subgraphs[0]
    operators, floats = collections.Counter(), collections.Counter()
    for op in main.operators:
        kind = flatbuffer.operator_name(model, op)
        operators[kind] += 1
        tensors = [index for index in (*op.inputs, *op.outputs) if index >= 0]
        at_an_end = kind in ("QUANTIZE", "DEQUANTIZE") and any(
            index in (*main.inputs, *main.outputs) for index in tensors
        )
        kinds = {flatbuffer.TENSOR_TYPES[main.tensors[index].type] for index in tensors}
        if "FLOAT32" in kinds and not at_an_end:
            floats[kind] += 1
    return {
        "operators": dict(sorted(operators.items())),
        "integer_only": not floats,
        "float_operators": dict(sorted(floats.items())),
    }


def run(data, images):
    """Integers that a file gives, and the grid of its output."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=2)
    interpreter.allocate_tensors()
    (source,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = output["quantization"]
    if not scale:
        scale, zero_point = output_grid(data)
    values = []
    for image in images:
        interpreter.set_tensor(source["index"], image[None].astype(source["dtype"]))
        interpreter.invoke()
        values.append(interpreter.get_tensor(output["index"])[0])
    return steps(np.stack(values), scale, zero_point), scale, zero_point


def output_grid(data):
    """Grid of what the file's last DEQUANTIZE takes; 1 and 0 where the output is float."""
    from tflite_tools import flatbuffer

    model = flatbuffer.parse(data, "TFMOT's file")
    main = model.subgraphs[0]
    for op in main.operators:
        if op.outputs[0] == main.outputs[0] and flatbuffer.operator_name(model, op) == "DEQUANTIZE":
            grid = main.tensors[op.inputs[0]].quantization
            return float(grid.scale[0]), int(grid.zeroPoint[0])
    return 1.0, 0


def steps(values, scale, zero_point):
    import numpy as np

    return np.rint(values / scale) + zero_point


def compare(results, expected) -> dict:
    import numpy as np

    apart = np.abs(results - expected)
    return {
        "outputs_equal": float(np.mean(apart == 0)),
        "within_a_step": float(np.mean(apart <= 1)),
        "largest_steps": int(apart.max()),
        "span": int(results.max() - results.min()),
        "top1_equal": float(np.mean(results.argmax(-1) == expected.argmax(-1))),
    }


def ours(qmodel, name, images, results, scale, zero_point) -> dict:
    """The file that `from_tfmot` leads to, against TFMOT's own."""
    import numpy as np

    import mobilequant as mq
    import tflite_tools
    from tflite_tools.interpreter import Interpreter

    path = common.WORK / f"{name}_from_tfmot.tflite"
    path.parent.mkdir(parents=True, exist_ok=True)
    report = tflite_tools.convert(mq.from_tfmot(qmodel), path, samples=images[:1])
    file = common.file_scores(path, images[:, None])
    found = compare(file.astype("float64"), results)
    grid = Interpreter(path.read_bytes()).outputs[0]
    found["same_grid"] = bool(
        np.float32(grid.scale) == np.float32(scale) and int(grid.zero_point) == zero_point
    )
    found["equal_to_keras"] = report.agreement.equal
    return found


if __name__ == "__main__":
    sys.exit(main())
