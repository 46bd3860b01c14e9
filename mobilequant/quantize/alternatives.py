"""What to use instead of layers and operations that no device computes in integers."""

from __future__ import annotations

#: By the name of the class.
ALTERNATIVES = {
    # Layers.
    "Average": "use keras.layers.Add and a factor of 1 / n behind it",
    "Bidirectional": "use convolutions over time",
    "CategoryEncoding": "encode the data before the model",
    "Conv3D": "use Conv2D on each slice",
    "Discretization": "encode the data before the model",
    "Embedding": "look the vectors up before the model",
    "GRU": "use convolutions over time",
    "GroupNormalization": "use BatchNormalization, which folds into a convolution",
    "LSTM": "use convolutions over time",
    "Lambda": "write its function as keras.ops in the graph, or as a layer with a rule",
    "SimpleRNN": "use convolutions over time",
    "SpectralNormalization": "use the layer inside it, once trained",
    "TimeDistributed": "use a layer that takes the whole sequence, as Dense or Conv1D",
    "UnitNormalization": "use BatchNormalization, or put it behind the model",
    # Operations.
    "Argmax": "put it behind the model",
    "Cos": "put it behind the model",
    "LayerNorm": "use keras.layers.LayerNormalization",
    "Normalize": "use keras.layers.BatchNormalization, or put it behind the model",
    "RMSNorm": "use keras.layers.RMSNormalization",
    "Sin": "put it behind the model",
    "Std": "use keras.layers.LayerNormalization, or put it behind the model",
    "Var": "use keras.layers.LayerNormalization, or put it behind the model",
    "Where": "use keras.ops.maximum, minimum or a product with a gate",
}

#: By the operator that a target does not run.
INSTEAD = {
    "BATCH_MATMUL": "choose a model without attention",
    "ELU": "use 'relu' or 'relu6' instead",
    "GELU": "use 'relu' or 'relu6' instead",
    "HARD_SWISH": "use 'relu' or 'relu6' instead",
    "LEAKY_RELU": "use 'relu', or PReLU with shared slopes, instead",
    "LOG": "use 'relu' instead",
}


def alternative_to(layer) -> str:
    """A clause for an error about a layer or operation without a rule."""
    for kind in type(layer).__mro__:
        if kind.__name__ in ALTERNATIVES:
            return ALTERNATIVES[kind.__name__]
    return "write a rule for it (mobilequant.register_rule)"
