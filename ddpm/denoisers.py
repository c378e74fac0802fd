"""Denoiser: what counts as a network and what it sees; how it is called.

Any callable `model(x, t, labels=None)` that maps noised images (B, C, H, W) and timesteps (B,),
int64 or rescaled float32, to a prediction (B, C, H, W), or (B, 2C, H, W) with a variance, so that
exact scores can be put in a network's place. Images are floats in [-1, 1], made of pixels
v = 0..255:

    x = v / 127.5 - 1,    v = round(127.5 (x + 1))                  arXiv 2006.11239, section 3.3
"""

import math
from typing import Any, Protocol

import torch
from torch import Tensor

ROUNDING = 1e-5  # by which a value may leave the range, wherever images are checked
HEALTHY = "numbers: the network's weights may be damaged, or their training has diverged"


class Denoiser(Protocol):
    """A network, or a function in its place; one without classes need not know `labels`."""

    def __call__(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, C, H, W) and (B,) -> (B, C or 2C, H, W)."""


# --------------------------------------------------------------------------------------- images
def to_model_range(images: Tensor) -> Tensor:
    """From pixels to what models are trained on.

    Args:
        images: uint8, any shape.

    Returns:
        float32 in [-1, 1], the same shape.

    Raises:
        ValueError: if the images are not uint8.
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"images are {images.dtype}; expected torch.uint8, 0..255.")
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """From a model's range to pixels, the inverse of [`to_model_range`] on all 256 values.

    Args:
        images: floats, any shape; what lies outside [-1, 1] is clamped.

    Returns:
        uint8, the same shape.

    Raises:
        ValueError: if the images are not floats, or not all finite.
    """
    if not images.is_floating_point():
        raise ValueError(f"images are {images.dtype}; expected floats in [-1, 1].")
    check_finite("images", images, "floats in [-1, 1]")
    return ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def check_images(
    images: Any,
    *,
    limit: float = 1.0,
    known: Tensor | None = None,
    flat: bool = True,
    empty: bool = False,
    wait: bool = False,
) -> None:
    """Finds out whether images are what models see.

    Args:
        images: floats (B, C, H, W) in [-1, 1]; rounding may carry a value 1e-5 further.
        limit: largest absolute value; infinity for data that is no image, such as a Gaussian's.
        known: bool, broadcasts to the images: where values count; None = everywhere.
        flat: whether any (B, ...) will do: samplers and losses know no height and width.
        empty: whether there may be no image, B = 0: nothing can be drawn or learned of none.
        wait: whether to look at the values on a GPU too, which then has to finish its work first.

    Raises:
        ValueError: if they are something else.
    """
    expected = "floats (B, C, H, W) in [-1, 1]"
    if not isinstance(images, Tensor):
        raise ValueError(f"images are a {type(images).__name__}; expected {expected}.")
    shape = tuple(images.shape)
    shaped = images.ndim >= 2 if flat else images.ndim == 4 and 0 not in shape[1:]
    if not images.is_floating_point() or not shaped:
        raise ValueError(f"images are {images.dtype} of shape {shape}; expected {expected}.")
    if not empty and not len(images):
        raise ValueError(f"there is no image, the shape is {shape}; expected at least one.")
    if wait or images.device.type == "cpu":
        _check_values(images if known is None else images[known.expand_as(images)], limit)


def _check_values(values: Tensor, limit: float) -> None:
    bounded = math.isfinite(limit)
    expected = f"[{-limit:g}, {limit:g}]" if bounded else "numbers"
    check_finite("images", values, expected)
    if bounded and values.numel() and values.abs().max() > limit + ROUNDING:
        low = float(values.min())
        high = float(values.max())
        # with so many digits that the least excess shows
        raise ValueError(
            f"images lie in [{low:.7g}, {high:.7g}]; expected {expected}:"
            " rescale (pixels / 127.5 - 1) or clamp them."
        )


def check_finite(what: str, values: Tensor, expected: str = HEALTHY) -> Tensor:
    """Gives values back, if all of them are finite.

    Args:
        what: they are, for the message.
        values: floats, any shape; looking at them makes a GPU finish its work first.
        expected: for the message; by default for what a network made.

    Returns:
        The values.

    Raises:
        ValueError: if a value is not finite.
    """
    wrong = values[~values.isfinite()]
    if len(wrong):
        raise ValueError(
            f"{what} hold {len(wrong)} of {values.numel()} values that are not finite, such as"
            f" {float(wrong[0])}; expected {expected}."
        )
    return values


# --------------------------------------------------------------------------------------- a call
def check_model(model: Any) -> None:
    """Finds out whether a network can be called.

    Args:
        model: a denoiser.

    Raises:
        ValueError: if it cannot, as an argument in another's place.
    """
    if not callable(model):
        raise ValueError(
            f"the model is a {type(model).__name__}; expected a network, or a function in its"
            " place: model(x, t, labels=None)."
        )


def check_labels(labels: Any, num_images: int, device: torch.device) -> None:
    """Finds out whether there is one label an image; which ones there are, the network knows.

    Args:
        labels: int64 (B,).
        num_images: B.
        device: of the images.

    Raises:
        ValueError: if they are something else, or elsewhere.
    """
    expected = f"expected int64 ({num_images},), one class for each image"
    if not isinstance(labels, Tensor):
        raise ValueError(f"labels are a {type(labels).__name__}; {expected}.")
    if labels.shape != (num_images,) or labels.dtype != torch.long:
        raise ValueError(f"labels are {labels.dtype} {tuple(labels.shape)}; {expected}.")
    if labels.device != device:
        raise ValueError(f"labels are on {labels.device}; expected {device}, as the images.")


def check_classes(labels: Tensor | None, model: Any) -> None:
    """Finds out, before a network is called, whether it knows these labels; GPUs are not asked.

    Args:
        labels: int64 (B,), or None.
        model: a network whose configuration says its classes; any other is taken at its word.

    Raises:
        ValueError: if labels are superfluous or out of range.
    """
    config: Any = getattr(model, "config", None)
    if labels is None or not hasattr(config, "num_classes"):
        return
    classes = config.num_classes
    if classes is None:
        raise ValueError(
            "got labels; expected None, as the network is unconditional (num_classes is None)."
        )
    most = classes if getattr(config, "null_class", False) else classes - 1
    known = labels.device.type != "cpu" or 0 <= int(labels.min()) <= int(labels.max()) <= most
    if not known:
        raise ValueError(
            f"labels reach from {labels.min()} to {labels.max()}; expected 0..{most}, what the"
            f" network knows (its num_classes is {classes})."
        )


def call_network(
    model: Denoiser, x_t: Tensor, times: Tensor, labels: Tensor | None, learned_variance: bool
) -> Tensor:
    """Calls the network and checks the shape of what comes out.

    Args:
        model: a denoiser.
        x_t: noised images (B, C, H, W).
        times: (B,), what the network is told.
        labels: int64 (B,), or None: then the network is called without the argument.
        learned_variance: whether the output must have 2C channels; else it may.

    Returns:
        (B, C or 2C, H, W).

    Raises:
        ValueError: if it cannot be called, labels are not one an image, or the output has another
            shape.
    """
    check_model(model)
    if labels is not None:
        check_labels(labels, len(x_t), x_t.device)
    output = model(x_t, times) if labels is None else model(x_t, times, labels=labels)
    if not isinstance(output, Tensor):
        raise ValueError(f"the network gave a {type(output).__name__}; expected a tensor.")
    single = tuple(x_t.shape)
    double = (single[0], 2 * single[1], *single[2:])
    allowed = (double,) if learned_variance else (single, double)
    if tuple(output.shape) not in allowed:
        expected = f"{double} with a learned variance, or another variance="
        raise ValueError(
            f"the network made {tuple(output.shape)} of images {single}; expected"
            f" {expected if learned_variance else f'{single} or {double}'}."
        )
    return output
