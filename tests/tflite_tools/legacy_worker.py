"""Runs files in `tflite-runtime` 2.14; started by test_legacy_runtime with that runtime's Python.

    python legacy_worker.py FOLDER

For each NAME.tflite in FOLDER the inputs are the arrays in NAME.npz, one run for each element of
their first dimension. NAME.out.npz gets the outputs: "default_0", … as the package computes them,
"xnnpack_0", … with the int8 operators of its XNNPACK, which an app can switch on.
"""

import ctypes
import pathlib
import sys

import numpy as np
import tflite_runtime
from tflite_runtime import interpreter as tflite

#: Flags of its C interface for signed and unsigned 8-bit operators.
QS8, QU8 = 1, 2


class Options(ctypes.Structure):
    """TfLiteXNNPackDelegateOptions as of 2.14; what follows the flags is only passed on."""

    _fields_ = (
        ("threads", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 64),
    )


class XNNPack:
    """The runtime's own delegate, with more switched on than Python's interface allows for."""

    def __init__(self):
        (library,) = pathlib.Path(tflite_runtime.__file__).parent.glob("*pywrap*.so")
        functions = ctypes.CDLL(str(library))
        functions.TfLiteXNNPackDelegateOptionsDefault.restype = Options
        functions.TfLiteXNNPackDelegateCreate.restype = ctypes.c_void_p
        self._options = functions.TfLiteXNNPackDelegateOptionsDefault()
        self._options.flags |= QS8 | QU8
        self._pointer = functions.TfLiteXNNPackDelegateCreate(ctypes.byref(self._options))

    def _get_native_delegate_pointer(self):
        return self._pointer


def run(data, inputs, delegates):
    """Outputs of all runs, and whether a delegate took part."""
    kinds = tflite.OpResolverType
    resolver = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if delegates else kinds.AUTO
    model = tflite.Interpreter(
        model_content=data,
        experimental_delegates=delegates,
        experimental_op_resolver_type=resolver,
    )
    model.allocate_tensors()
    outputs = []
    for feeds in zip(*inputs, strict=True):
        for port, array in zip(model.get_input_details(), feeds, strict=True):
            model.set_tensor(port["index"], array[None])
        model.invoke()
        outputs.append([model.get_tensor(port["index"])[0] for port in model.get_output_details()])
    delegated = any(op["op_name"] == "DELEGATE" for op in model._get_ops_details())
    return [np.stack(arrays) for arrays in zip(*outputs, strict=True)], delegated


def main(folder):
    for path in sorted(pathlib.Path(folder).glob("*.tflite")):
        with np.load(path.with_suffix(".npz")) as arrays:
            inputs = [arrays[name] for name in sorted(arrays.files)]
        found = {}
        for name, delegates in (("default", []), ("xnnpack", [XNNPack()])):
            outputs, delegated = run(path.read_bytes(), inputs, delegates)
            found[f"{name}_delegated"] = delegated
            found |= {f"{name}_{i}": array for i, array in enumerate(outputs)}
        np.savez(path.with_suffix(".out.npz"), **found)


if __name__ == "__main__":
    main(sys.argv[1])
