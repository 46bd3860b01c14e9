"""What a model is trained for, beyond classification: targets, losses, metrics, results."""
