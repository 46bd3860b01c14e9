"""Where images come from: embedded, TFDS, or a folder. Each module makes a `Source`."""
