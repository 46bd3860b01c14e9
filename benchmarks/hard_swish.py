"""Hard-swish in integers: which form is fastest on this CPU.

    python benchmarks/hard_swish.py

Two 1×1 convolutions with each form between them, on one thread, all files in turn; the time of the
two convolutions alone is taken off. Writes results/hard_swish.json.
"""

from __future__ import annotations

import argparse
import math

import common
import numpy as np

import tflite_tools
from mobilequant.integer import Constant, FrozenGraph, Operator, Tensor, Weights
from tflite_tools.emission import emit

SHAPE = (56, 56, 64)
GATE = math.sqrt(6) / 255


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=300)
    arguments = parser.parse_args()
    common.WORK.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, form in FORMS.items():
        paths.append(common.WORK / f"{name.replace(' ', '_')}.tflite")
        paths[-1].write_bytes(emit(graph(form)))
    files = tflite_tools.benchmark(*paths, runs=arguments.runs).files
    base = files[0].median
    results = {
        name: {
            "median_ms": file.median,
            "ns_per_element": 1e6 * (file.median - base) / math.prod(SHAPE),
        }
        for name, file in zip(FORMS, files, strict=True)
    }
    for name, entry in results.items():
        print(f"{name:36s} {entry['ns_per_element']:7.3f} ns an element")
    common.write("hard_swish", results, shape=list(SHAPE), **vars(arguments))


def graph(form) -> FrozenGraph:
    image = tensor("image", 0.05, 3)
    first = tensor("first", 0.05, 5)
    operators = [convolution(image, first)]
    last = form(operators, first)
    output = tensor("output", 0.05, 5)
    operators.append(convolution(last, output))
    return FrozenGraph("hard_swish", "phone", [image], [output], operators)


def tensor(name, scale, zero_point):
    return Tensor(name, SHAPE, np.float32(scale), zero_point)


def convolution(x, y):
    random = np.random.default_rng(0)
    channels = SHAPE[-1]
    weights = Weights(
        values=random.integers(-127, 128, (1, 1, channels, channels)).astype(np.int8),
        scales=np.full(channels, 0.01, np.float32),
        bits=8,
        bias=np.zeros(channels, np.int32),
    )
    options = {"strides": (1, 1), "dilation": (1, 1), "padding": "SAME"}
    return Operator("CONV_2D", y.name, [x], [y], weights, options=options)


def nothing(operators, x):
    return x


def builtin(operators, x):
    return _append(operators, "HARD_SWISH", [x], tensor("swish", 0.03, -115))


def add_and_multiply(operators, x):
    gate = _append(operators, "ADD", [x], tensor("gate", GATE, -128), math.sqrt(6) / 2)
    return _append(operators, "MUL", [x, gate], tensor("swish", 0.03, -115))


def three_steps(operators, x):
    """x + 3, clipped to [0, 6], over 6, times x: as frameworks write it down."""
    shifted = _append(operators, "ADD", [x], tensor("shifted", 6 / 255, -128), 3.0)
    gate = _append(operators, "MUL", [shifted], tensor("gate", 1 / 255, -128), 1 / 6)
    return _append(operators, "MUL", [x, gate], tensor("swish", 0.03, -115))


def silu(operators, x):
    gate = _append(operators, "LOGISTIC", [x], tensor("gate", 1 / 256, -128))
    return _append(operators, "MUL", [x, gate], tensor("swish", 0.03, -115))


def gelu(operators, x):
    return _append(operators, "GELU", [x], tensor("gelu", 0.03, -115), approximate=False)


def _append(operators, kind, inputs, output, constant=None, **options):
    constants = {} if constant is None else {1: Constant.of(constant)}
    operators.append(
        Operator(kind, output.name, inputs, [output], constants=constants, options=options)
    )
    return output


FORMS = {
    "convolutions alone": nothing,
    "HARD_SWISH": builtin,
    "ADD MUL (what quantize makes)": add_and_multiply,
    "ADD MUL MUL": three_steps,
    "for comparison, SiLU: LOGISTIC MUL": silu,
    "for comparison: GELU": gelu,
}

if __name__ == "__main__":
    main()
