"""What 4 bits cost in each part of the network alone: the divergence from float, without labels.

From some images the change of means is taken, which batch normalization makes up for; on others
the divergence is measured. Depthwise kernels and the first convolution have 8 bits in the recipes
that are chosen here, and are left out.
"""

from __future__ import annotations

import common
import keras
import numpy as np
from deploy.files import WEIGHTS
from rich.progress import track

import mobilequant as mq
from mobilequant.quantizers import nearest_integer
from mobilequant.quantizers.learned_rounding import least_error_step

BITS = 4

#: Images for the means, and images to measure on.
FOR_MEANS, MEASURED = 64, 100


def parts(model) -> dict[str, list]:
    """The layers to round: those of a block together, the others alone."""
    found = {}
    for layer in model.layers:
        pointwise = type(layer) in (keras.layers.Conv2D, keras.layers.Dense)
        if pointwise and layer.name != "Conv1":
            part = layer.name.rsplit("_", 1)[0] if layer.name.startswith("block") else layer.name
            found.setdefault(part, []).append(layer)
    return found


def round_kernel(model, layer, seen) -> None:
    """Rounds a kernel, and takes off what that adds to means."""
    kernel = layer.kernel.numpy()
    step = least_error_step(kernel, BITS)
    change = np.asarray(nearest_integer(kernel / step, BITS)) * step - kernel
    given = predict(keras.Model(model.input, layer.input), seen)
    shift = given.reshape(-1, given.shape[-1]).mean(0) @ change.reshape(-1, change.shape[-1])
    layer.kernel.assign_add(change)
    behind = [node.operation for node in layer._outbound_nodes]
    if behind and isinstance(behind[0], keras.layers.BatchNormalization):
        behind[0].moving_mean.assign_add(shift)
    else:
        layer.bias.assign_sub(shift)


def predict(model, x):
    model.compile(jit_compile=False)
    return model.predict(x, batch_size=25, verbose=0)


def measure(unlabelled):
    """Prints the cost of each part and writes results/deploy_parts.json.

    Args:
        unlabelled: float32 images.
    """
    seen, measured = unlabelled[:FOR_MEANS], unlabelled[-MEASURED:]
    weights = common.SHARED / WEIGHTS
    model = mq.models.MobileNetV2(weights=weights, classifier_activation=None)
    former, exact = model.get_weights(), predict(model, measured)
    of_float = keras.ops.log_softmax(exact)
    results = {}
    for name, layers in track(parts(model).items(), description="parts"):
        for layer in layers:
            round_kernel(model, layer, seen)
        found = predict(model, measured)
        excess = of_float - keras.ops.log_softmax(found)
        divergence = keras.ops.mean(keras.ops.sum(keras.ops.exp(of_float) * excess, axis=-1))
        results[name] = {
            "weights": sum(int(np.prod(layer.kernel.shape)) for layer in layers),
            "divergence": float(divergence),
            "agreement": float((found.argmax(-1) == exact.argmax(-1)).mean()),
        }
        model.set_weights(former)
    for name, entry in results.items():
        print(f"{name:<24}{entry['weights']:>12,} weights {entry['divergence']:>8.4f} nats")
    common.write("deploy_parts", results, bits=BITS, for_means=FOR_MEANS, measured_on=MEASURED)
