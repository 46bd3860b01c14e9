"""What can go wrong between a Keras model and a file on a device."""


class ConversionError(ValueError):
    """The model cannot become a file that keeps the contract; nothing was written."""


class InvalidModelError(ValueError):
    """A file cannot be read, or is no sound TFLite model; the message names file and reason."""
