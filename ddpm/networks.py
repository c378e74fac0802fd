"""Denoiser: what counts as a network, and how it is called.

Any callable `model(x, t, labels=None)` that maps noised images (B, C, H, W) and timesteps int64 (B,) to a prediction
(B, C, H, W), or (B, 2C, H, W) with a variance; so that exact scores can be put in a network's place.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

Denoiser = Callable[..., Tensor]


def call_network(model: Denoiser, x_t: Tensor, times: Tensor, labels: Tensor | None, learned_variance: bool) -> Tensor:
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
        expected = f"{double} with a learned variance" if learned_variance else f"{single} or {double}"
        raise ValueError(f"the network made {tuple(output.shape)} of images {single}; expected {expected}.")
    return output


@contextmanager
def evaluating(model: Denoiser) -> Iterator[None]:
    """Evaluation mode for as long as the block lasts, if the model is a module: dropout would spoil what it says."""
    training = [module for module in model.modules() if module.training] if isinstance(model, nn.Module) else []
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
