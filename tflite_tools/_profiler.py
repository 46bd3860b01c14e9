"""A script that runs one `.tflite` file with LiteRT's profiler on, and prints what that says.

LiteRT's Python interface has no profiler, but the shared library that it is made of has one in its
C interface (litert/c/litert_profiler.h), which is called here by ctypes. A wrong call would end the
process: that is why this is a script, for `tflite_tools.profiling` to run in a process of its own.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from ctypes import byref, c_char, c_char_p, c_int, c_size_t, c_void_p
from pathlib import Path

import ai_edge_litert
import numpy as np

_CPU = 1  # kLiteRtHwAcceleratorCpu
_WRITE = 1  # kLiteRtTensorBufferLockModeWrite
_TENSOR_TYPE = 256  # bytes, more than LiteRtRankedTensorType has

_library = ctypes.CDLL(str(Path(ai_edge_litert.__file__).with_name("libLiteRt.so")))
_c = ctypes.CDLL(None)
_c.strdup.restype = c_void_p


def main() -> None:
    """Profiles what the first argument describes."""
    options = json.loads(sys.argv[1])
    # What native code prints must not come before the profile.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    environment, model, compiled, profiler = (c_void_p() for _ in range(4))
    _call("LiteRtCreateEnvironment", 0, None, byref(environment))
    _call("LiteRtCreateModelFromFile", environment, options["path"].encode(), byref(model))
    chosen = _options(options["threads"], options["kernel_mode"])
    _call("LiteRtCreateCompiledModel", environment, model, chosen, byref(compiled))
    _call("LiteRtCompiledModelGetProfiler", compiled, byref(profiler))
    signature, subgraph = c_void_p(), c_void_p()
    _call("LiteRtGetModelSignature", model, c_size_t(0), byref(signature))
    _call("LiteRtGetSignatureSubgraph", signature, byref(subgraph))
    inputs = _buffers("Input", environment, subgraph, compiled)
    outputs = _buffers("Output", environment, subgraph, compiled)
    with np.load(options["inputs"]) as arrays:
        for buffer, name in zip(inputs, arrays.files, strict=True):
            _fill(buffer, arrays[name])

    def run(count):
        for _ in range(count):
            _call(
                "LiteRtRunCompiledModel", compiled, c_size_t(0), c_size_t(len(inputs)), inputs,
                c_size_t(len(outputs)), outputs,
            )  # fmt: skip

    run(options["warmup"])
    _call("LiteRtStartProfiler", profiler)
    run(options["runs"])
    _call("LiteRtStopProfiler", profiler)
    summary = c_char_p()
    _call("LiteRtGetProfileSummary", profiler, compiled, byref(summary))
    print(summary.value.decode("utf-8", "replace"), file=answer, flush=True)


def _options(threads: int, kernel_mode: int) -> c_void_p:
    options = c_void_p()
    _call("LiteRtCreateOptions", byref(options))
    _call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
    parts = {
        b"runtime_options_string": "enable_profiling = true\n",
        b"xnnpack": f"num_threads = {threads}\nkernel_mode = {kernel_mode}\n",
    }
    for identifier, text in parts.items():
        part = c_void_p()
        # LiteRT keeps the text and frees it; the process does not live long enough for that.
        payload = c_void_p(_c.strdup(text.encode()))
        _call("LiteRtCreateOpaqueOptions", identifier, payload, _keep, byref(part))
        _call("LiteRtAddOpaqueOptions", options, part)
    return options


@ctypes.CFUNCTYPE(None, c_void_p)
def _keep(payload) -> None:
    """What LiteRT calls to free a text."""


def _buffers(kind: str, environment, subgraph, compiled):
    """A buffer for each input or output, as an array for `LiteRtRunCompiledModel`."""
    count = c_size_t()
    _call(f"LiteRtGetNumSubgraph{kind}s", subgraph, byref(count))
    buffers = (c_void_p * count.value)()
    for i in range(count.value):
        tensor, needs, buffer = c_void_p(), c_void_p(), c_void_p()
        tensor_type = (c_char * _TENSOR_TYPE)()
        at = (c_size_t(0), c_size_t(i))
        _call(f"LiteRtGetSubgraph{kind}", subgraph, at[1], byref(tensor))
        _call("LiteRtGetRankedTensorType", tensor, tensor_type)
        _call(f"LiteRtGetCompiledModel{kind}BufferRequirements", compiled, *at, byref(needs))
        create = "LiteRtCreateManagedTensorBufferFromRequirements"
        _call(create, environment, tensor_type, needs, byref(buffer))
        buffers[i] = buffer
    return buffers


def _fill(buffer: int, array: np.ndarray) -> None:
    place, size = c_void_p(), c_size_t()
    _call("LiteRtGetTensorBufferSize", c_void_p(buffer), byref(size))
    if array.nbytes > size.value:
        raise RuntimeError(f"an input takes {size.value} bytes, not {array.nbytes}")
    _call("LiteRtLockTensorBuffer", c_void_p(buffer), byref(place), _WRITE)
    data = np.ascontiguousarray(array)
    ctypes.memmove(place, data.ctypes.data, data.nbytes)
    _call("LiteRtUnlockTensorBuffer", c_void_p(buffer))


def _call(name: str, *arguments) -> None:
    function = getattr(_library, name)
    function.restype = c_int
    status = function(*arguments)
    if status:
        raise RuntimeError(f"{name} gave the status {status}")


if __name__ == "__main__":
    main()
