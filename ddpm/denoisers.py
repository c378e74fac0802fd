"""Denoiser: what counts as a network, and how it is called.

Any callable `model(x, t, labels=None)` that maps noised images (B, C, H, W) and timesteps int64
(B,) to a prediction (B, C, H, W), or (B, 2C, H, W) with a variance; so that exact scores can be put
in a network's place.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

Denoiser = Callable[..., Tensor]


def check_images(images: Any, known: Tensor | None = None, limit: float = 1.0) -> None:
    """Finds out whether images are what models see; their values on a CPU only, as a GPU would have
    to wait.

    Args:
        images: floats (B, C, H, W) in [-1, 1].
        known: bool, broadcasts to the images: where values count; None = everywhere.
        limit: largest absolute value; infinity for data that is no image, such as a Gaussian's.

    Raises:
        ValueError: if they are something else.
    """
    if not isinstance(images, Tensor):
        raise ValueError(f"images are a {type(images).__name__}; expected a tensor (B, C, H, W).")
    if not images.is_floating_point() or images.ndim < 2:
        raise ValueError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; expected floats (B, C,"
            " H, W)."
        )
    values = images if known is None else images[known.expand_as(images)]
    if (
        images.device.type == "cpu"
        and values.numel()
        and not (values.isfinite().all() and values.abs().max() <= limit + 1e-5)
    ):
        low = float(values.min())
        high = float(values.max())
        raise ValueError(
            f"images lie in [{low:.4g}, {high:.4g}]; expected [-1, 1] (x / 127.5 - 1), all finite."
        )


def call_network(
    model: Denoiser, x_t: Tensor, times: Tensor, labels: Tensor | None, learned_variance: bool
) -> Tensor:
    """Calls the network and checks the shape of what comes out.

    Args:
        model: a denoiser; one without labels need not know the argument.
        x_t: noised images (B, C, H, W).
        times: int64 (B,), what the network is told.
        labels: int64 (B,), or None.
        learned_variance: whether the output must have 2C channels; else it may.

    Returns:
        (B, C or 2C, H, W).

    Raises:
        ValueError: if the output has another shape.
    """
    output = model(x_t, times) if labels is None else model(x_t, times, labels=labels)
    if not isinstance(output, Tensor):
        raise ValueError(f"the network gave a {type(output).__name__}; expected a tensor.")
    single = tuple(x_t.shape)
    double = (single[0], 2 * single[1], *single[2:])
    if output.shape != double and (learned_variance or output.shape != single):
        expected = (
            f"{double} with a learned variance, or another variance="
            if learned_variance
            else f"{single} or {double}"
        )
        raise ValueError(
            f"the network made {tuple(output.shape)} of images {single}; expected {expected}."
        )
    return output


@contextmanager
def evaluating(model: Denoiser) -> Iterator[None]:
    """Evaluation mode for as long as the block lasts, if the model is a module: dropout would spoil
    what it says.
    """
    training = (
        [module for module in model.modules() if module.training]
        if isinstance(model, nn.Module)
        else []
    )
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
