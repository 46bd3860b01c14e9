"""Makes ai-edge-quantizer's files of a float one; runs in an environment that has that package.

python edge_quantizer.py FLOAT.tflite IMAGES.npy FOLDER RECIPE …
"""

import pathlib
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import qtyping, quantizer, recipe, recipe_manager


def static_wi4_ai8():
    """Its static recipe with 4-bit weights, where it takes them: not in depthwise convolutions."""
    operations = qtyping.TFLOperationName
    manager = recipe_manager.RecipeManager()
    manager.add_static_config(".*", operations.ALL_SUPPORTED, 8, 8)
    for operation in (operations.CONV_2D, operations.FULLY_CONNECTED):
        manager.add_static_config(".*", operation, 8, 4)
    return manager.get_quantization_recipe()


RECIPES = {
    "static_wi8_ai8": recipe.static_wi8_ai8,
    "static_wi4_ai8": static_wi4_ai8,
    "dynamic_wi4_afp32": recipe.dynamic_wi4_afp32,
    "weight_only_wi4_afp32": recipe.weight_only_wi4_afp32,
}


def main(float_file, images, folder, *names):
    ((key, signature),) = Interpreter(float_file).get_signature_list().items()
    (name,) = signature["inputs"]
    calibration = {key: [{name: image[None]} for image in np.load(images)]}
    for recipe_name in names:
        work = quantizer.Quantizer(float_file)
        work.load_quantization_recipe(RECIPES[recipe_name]())
        ranges = work.calibrate(calibration) if work.need_calibration else None
        path = pathlib.Path(folder) / f"{recipe_name}.tflite"
        work.quantize(ranges).export_model(str(path), overwrite=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
