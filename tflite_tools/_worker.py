"""The other side of `tflite_tools.child`: runs one `.tflite` file, and answers line by line.

A script that imports nothing of this package, only LiteRT and NumPy: what its process takes in
memory is then what the file takes.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

import numpy as np


def main() -> None:
    """Loads the file that the first argument describes, then obeys what comes on stdin."""
    options = json.loads(sys.argv[1])
    # What native code prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    try:
        model, facts = _load(options)
        answer(**facts)
        for line in sys.stdin:
            answer(**_obey(model, json.loads(line)))
    except (RuntimeError, ValueError, OSError) as error:
        answer(error=" ".join(str(error).split()) or type(error).__name__)


def _load(options: dict):
    from ai_edge_litert import interpreter as litert

    before = _memory("VmRSS")
    delegates = None
    if options["delegate"]:
        try:
            delegates = [litert.load_delegate(options["delegate"])]
        except (ValueError, OSError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"delegate {options['delegate']}: {reason}") from error
    started = time.perf_counter()
    model = litert.Interpreter(
        model_path=options["path"],
        num_threads=options["threads"],
        experimental_op_resolver_type=litert.OpResolverType[options["resolver"]],
        experimental_delegates=delegates,
    )
    model.allocate_tensors()
    seconds = time.perf_counter() - started
    return model, {
        "seconds": seconds,
        "memory_before": before,
        "inputs": [_port(details) for details in model.get_input_details()],
    }


def _obey(model, command: dict) -> dict:
    if "inputs" in command:
        with np.load(command["inputs"]) as arrays:
            for details, name in zip(model.get_input_details(), arrays.files, strict=True):
                model.set_tensor(details["index"], arrays[name])
        return {}
    seconds = []
    for _ in range(command["runs"]):
        started = time.perf_counter()
        model.invoke()
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds, "memory": _memory("VmHWM")}


def _port(details: dict) -> dict:
    parameters = details["quantization_parameters"]
    quantized = len(parameters["scales"]) == 1
    return {
        "name": details["name"],
        "index": int(details["index"]),
        "shape": [int(n) for n in details["shape"]],
        "dtype": np.dtype(details["dtype"]).name,
        "scale": float(parameters["scales"][0]) if quantized else None,
        "zero_point": int(parameters["zero_points"][0]) if quantized else None,
    }


def _memory(field: str) -> int:
    """Bytes of this process in memory: now ("VmRSS") or at most so far ("VmHWM")."""
    # getrusage() would do for the second, but on Linux it goes on from the parent's.
    try:
        with open("/proc/self/status") as status:
            (line,) = (line for line in status if line.startswith(field))
        return 1024 * int(line.split()[1])
    except (OSError, ValueError):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
