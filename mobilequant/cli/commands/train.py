"""`mobilequant train`: float or quantized training, which can be interrupted."""

from __future__ import annotations

from mobilequant.cli import arguments as args
from mobilequant.cli import console, files, garden
from mobilequant.cli.errors import UsageError

HELP = "train a model, in float or quantized; an interrupted run goes on where it was"

DESCRIPTION = """\
Trains a model with warm-up and a cosine schedule, saves it, and measures it on the test images:
its accuracy, the mean IoU of a segmentation, the mean average precision of a detector. What is
trained is a new model, or a .keras file: a float one, or a quantized one (mobilequant quantize).
With --quantize a float model is quantized first.

After each epoch the state is kept in OUTPUT.backup/: start an interrupted run again with the same
arguments and it goes on from there. The folder goes away when the output is written."""

EXAMPLES = """\
  mobilequant train --data digits --image-size 32 --alpha 0.35 --early-strides 2 1 -o float.keras
  mobilequant train --data cifar10 --data-dir ~/data --image-size 32 --early-strides 1 1 \\
      --epochs 30 --batch-size 64 -o float.keras
  mobilequant train --model float.keras --data cifar10 --quantize w8a8 --target edgetpu \\
      --epochs 6 --freeze-epochs 2 --learning-rate 2e-4 -o q.keras
  mobilequant train --model q.keras --data photos/ --epochs 3 --learning-rate 1e-4 -o tuned.keras
  mobilequant train --task segmentation --data oxford_iiit_pet --image-size 240x320 \\
      --head lraspp --backbone MobileNetV2 --backbone-weights imagenet -o street.keras
  mobilequant train --task detection --data voc_folder/ --image-size 320 --epochs 60 -o boxes.keras
  mobilequant train --model boxes.keras --data voc_folder/ --quantize w8a8 --epochs 6 \\
      --freeze-epochs 2 --learning-rate 2e-4 -o q.keras"""

#: The models that have a name; a test holds them to `mobilequant.models`.
MODELS = garden.builders()
DEFAULT_MODEL = "MobileNetV2"
OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")

#: Heads of segmentation and detection, the default first.
HEADS = {"segmentation": ("lraspp", "raspp"), "detection": ("ssdlite",)}

_ANY = {"alpha": 1.0, "channels": 3, "early_strides": (2, 2)}
_DENSE = {
    **_ANY,
    "image_size": (320, 320),
    "backbone": DEFAULT_MODEL,
    "backbone_weights": None,
    "output_stride": None,
}
#: Arguments that shape a new model, with the values that they have where they are not given.
NEW_MODEL = {
    "classification": {**_ANY, "image_size": (224, 224), "dropout": 0.0, "weights": None},
    "segmentation": {**_DENSE, "head": HEADS["segmentation"][0], "dropout": 0.0},
    "detection": {**_DENSE, "head": HEADS["detection"][0]},
}


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT.keras", help="the trained model to write"
    )
    args.add_data(parser, required=True, use="what to train on")
    parser.add_argument("--limit", type=args.count, metavar="N", help="only N images of each part")
    parser.add_argument(
        "--validation",
        type=args.share,
        default=0.0,
        metavar="SHARE",
        help="share of the training images that are put aside and evaluated after each epoch",
    )
    parser.add_argument(
        "--no-augment", action="store_true", help="leave the training images as they are"
    )
    _add_model(parser.add_argument_group("model"))
    _add_quantization(parser.add_argument_group("quantized training"))
    _add_training(parser.add_argument_group("training"))
    args.add_json(parser)


def _add_model(group) -> None:
    group.add_argument(
        "--model",
        metavar="NAME|M.keras",
        help=f"a new classifier of `mobilequant models` (default: {DEFAULT_MODEL}), or a file to "
        "train further",
    )
    group.add_argument(
        "--head",
        choices=[head for heads in HEADS.values() for head in heads],
        help="of a new segmentation (default: lraspp) or detector (ssdlite)",
    )
    group.add_argument(
        "--backbone",
        choices=MODELS,
        metavar="NAME",
        help=f"what it sits on: a model of `mobilequant models` (default: {DEFAULT_MODEL})",
    )
    group.add_argument(
        "--backbone-weights",
        metavar="FILE",
        help="of the backbone, to start from: imagenet (downloaded), hf-hub:OWNER/NAME, or a file",
    )
    group.add_argument(
        "--output-stride",
        type=int,
        choices=(8, 16, 32),
        help="of the backbone, kept by dilation (default: 16 for segmentation, 32 for detection)",
    )
    group.add_argument("--alpha", type=args.positive, help="width multiplier (default: 1.0)")
    group.add_argument(
        "--image-size",
        type=args.image_size,
        metavar="N|HxW",
        help="in pixels (default: 224; 320 for boxes and masks)",
    )
    group.add_argument("--channels", type=int, choices=(1, 3), help="grey or RGB (default: 3)")
    group.add_argument(
        "--early-strides",
        type=int,
        choices=(1, 2),
        nargs=2,
        help="strides of the first two stages (default: 2 2); 1 1 suits images of 32 pixels",
    )
    group.add_argument("--dropout", type=args.share, help="before the classifier (default: 0)")
    group.add_argument("--weights", metavar="FILE", help=".weights.h5 or .keras to start from")


def _add_quantization(group) -> None:
    group.add_argument(
        "--quantize", metavar="RECIPE", help="quantize the float model: w8a8 or another recipe"
    )
    args.add_recipe(group)
    group.add_argument(
        "--float-epochs",
        type=args.count_or_none,
        default=0,
        metavar="N",
        help="train the quantized model as in float for the first N epochs (default: 0)",
    )
    group.add_argument(
        "--freeze-epochs",
        type=args.count_or_none,
        default=0,
        metavar="N",
        help="fix ranges and batch normalization for the last N epochs (default: 0)",
    )
    group.add_argument(
        "--monitor",
        metavar="DIR",
        help="log quantization error, zeros and flipping integers of each layer to this folder: "
        "for TensorBoard, as quantization.json and, with matplotlib, as quantization.png",
    )


def _add_training(group) -> None:
    group.add_argument("--epochs", type=args.count, default=10, metavar="N", help="default: 10")
    group.add_argument(
        "--batch-size",
        type=args.count,
        metavar="N",
        help="default: 32; 8 for boxes and masks",
    )
    group.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help="default: adam")
    group.add_argument(
        "--learning-rate",
        type=args.positive,
        metavar="RATE",
        help="at its peak (default: the optimizer's, for training from nothing; fine-tuning "
        "wants about a tenth)",
    )
    group.add_argument(
        "--warmup-epochs",
        type=args.count_or_none,
        metavar="N",
        help="epochs in which the rate rises (default: 1, or 0 of fewer than 3)",
    )
    group.add_argument("--seed", type=int, default=0, help="for weights, order and augmentation")
    group.add_argument(
        "--restart", action="store_true", help="forget an interrupted run and begin anew"
    )


def run(arguments) -> None:
    """Trains, saves, evaluates."""
    output = files.check_output(arguments.output, ".keras")
    _check(arguments)

    from mobilequant.cli.quiet import import_tensorflow

    import_tensorflow()
    from mobilequant.cli.resume import Run
    from mobilequant.cli.training import train

    # Made first: a run with other settings is refused before anything takes time.
    backup = Run(output, arguments)
    try:
        result, measured = train(arguments, output, backup)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(backup.advice()) from None
    finally:
        backup.abandon_if_empty()
    text = (
        f"{output}: {result['parameters']:,} parameters, {result['epochs']} epochs on "
        f"{result['data']} ({console.size(result['size'])})"
    )
    console.print_result(result, "\n".join([text, *measured]), arguments.json)


def _check(arguments) -> None:
    """What can be said without TensorFlow, and completes the defaults."""
    arguments.from_file = _is_file(arguments)
    if arguments.from_file:
        files.check_input(arguments.model, ".keras")
    _complete_new_model(arguments)
    _check_quantization(arguments)
    _check_epochs(arguments)


def _is_file(arguments) -> bool:
    """Whether --model is a file; completes --task and --model of a new one."""
    model, task = arguments.model, arguments.task
    if model and model.endswith(".keras"):
        return True
    if model and model not in MODELS:
        raise UsageError(
            f"--model {model} is neither a model that `mobilequant models` lists nor a .keras file"
        )
    arguments.task = task = task or "classification"
    if task == "classification":
        arguments.model = model or DEFAULT_MODEL
    elif model:
        raise UsageError(
            f"--model {model} is a classifier; for a new {task} model write --backbone {model}"
        )
    return False


def _complete_new_model(arguments) -> None:
    defaults = {} if arguments.from_file else NEW_MODEL[arguments.task]
    for name in sorted({name for options in NEW_MODEL.values() for name in options}):
        option, given = f"--{name.replace('_', '-')}", getattr(arguments, name) is not None
        if given and arguments.from_file:
            raise UsageError(f"{option} is for a new model; {arguments.model} has its own")
        if given and name not in defaults:
            raise UsageError(f"{option} has no meaning for a new {arguments.task} model")
        if not given and name in defaults:
            setattr(arguments, name, defaults[name])
    heads = HEADS.get(arguments.task, ())
    if not arguments.from_file and heads and arguments.head not in heads:
        raise UsageError(
            f"--head {arguments.head} is not for {arguments.task}; choose {' or '.join(heads)}"
        )


def _check_quantization(arguments) -> None:
    from_file = arguments.from_file
    for name in ("target", "estimator"):
        if getattr(arguments, name) and not arguments.quantize:
            raise UsageError(f"--{name} needs --quantize RECIPE")
    if arguments.monitor and not (arguments.quantize or from_file):
        raise UsageError("--monitor needs --quantize or a quantized model")
    phases = arguments.float_epochs + arguments.freeze_epochs
    if phases and not (arguments.quantize or from_file):
        raise UsageError("--float-epochs and --freeze-epochs need --quantize or a quantized model")


def _check_epochs(arguments) -> None:
    phases = arguments.float_epochs + arguments.freeze_epochs
    if phases >= arguments.epochs:
        raise UsageError(
            f"--float-epochs {arguments.float_epochs} and --freeze-epochs "
            f"{arguments.freeze_epochs} leave no epoch of {arguments.epochs} to train quantized"
        )
    if arguments.warmup_epochs is None:
        arguments.warmup_epochs = 1 if arguments.epochs >= 3 else 0
    if arguments.warmup_epochs >= arguments.epochs:
        raise UsageError(
            f"--warmup-epochs {arguments.warmup_epochs} must be less than --epochs "
            f"{arguments.epochs}"
        )
