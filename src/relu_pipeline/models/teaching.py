"""Networks of introductory courses, as constructor arguments of the networks of this package."""

from typing import Any

DIGITS = [28, 28, 1]
CIFAR = [32, 32, 3]
PHOTOS = [64, 64, 3]

TEACHING: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp_28": ("mlp", {"image_shape": DIGITS, "hidden_dims": [256, 128], "activation": "relu"}),
    "cnn_28": (
        "plain_cnn",
        {"image_shape": DIGITS, "widths": [32, 64], "hidden_dims": [128], "activation": "relu"},
    ),
    "cnn_cifar10": (
        "plain_cnn",
        {"image_shape": CIFAR, "widths": [32, 64], "hidden_dims": [512], "activation": "relu"},
    ),
    "cnn_64": ("plain_cnn", {"image_shape": PHOTOS, "widths": [32, 64], "hidden_dims": [], "activation": "relu"}),
    "resnet18": ("resnet18", {"image_shape": CIFAR}),
    "text": ("text_mlp", {"vocab_size": 20_000, "embedding_dim": 64, "hidden_dims": [64, 64], "dropout": 0.1}),
}
NUM_CLASSES = {"text": 4}


def teaching_network(name: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the constructor arguments for `build_network`. Raises KeyError."""
    network, settings = TEACHING[name]
    return network, settings | {"num_classes": NUM_CLASSES.get(name, 10)}
