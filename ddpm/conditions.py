"""Conditions: the gradient of log p(y | x_t), by which guidance moves the score.

    grad_x sum_b log p(y_b | x_b, t),    log p(y | x) = log_softmax(logits)_y of a classifier

(arXiv 2105.05233, section 4.) The sum's gradient at an image is that of its own term.

Shapes: B images (B, C, H, W), K classes, T timesteps.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ardm.training.progress import evaluating

from .denoisers import check_finite
from .guides import Condition
from .predictors import Predictor

LogProbability = Callable[[Tensor, Tensor], Tensor]  # (x, t) -> log p(y | x) (B,), or logits (B, K)


class Gradient(Condition):
    """The gradient of a function of images, or of one of a classifier's log-probabilities."""

    def __init__(self, function: Any, labels: Any, scale: Any, at: Any, interval: Any):
        super().__init__(scale, interval, at)
        if not callable(function):
            raise ValueError(
                f"the classifier is a {type(function).__name__}; expected a NoisyClassifier, or a"
                " function cond_fn(x, t) of noisy images and timesteps -> log-probabilities (B,)."
            )
        if hasattr(getattr(function, "config", None), "null_class"):
            raise ValueError(
                f"the classifier is a {type(function).__name__}, which predicts images; expected"
                " a NoisyClassifier: recipes/train_classifier.py trains one."
            )
        _check_signature(function)
        self.function = function
        self.labels = None if labels is None else _checked_labels(labels)

    def check(self, predictor: Predictor) -> None:
        config = getattr(self.function, "config", None)
        if getattr(config, "betas", None) is not None:
            _check_schedule(config, predictor)
        ours = getattr(getattr(predictor.model, "config", None), "num_classes", None)
        theirs = getattr(config, "num_classes", None)
        size = getattr(getattr(predictor.model, "config", None), "image_size", None)
        known = getattr(config, "image_size", size)
        if None not in (size, known) and size != known:
            raise ValueError(
                f"the classifier knows images of {known} pixels, and the network draws {size};"
                " expected the same."
            )
        if self.labels is None and ours is not None and theirs is not None and ours != theirs:
            raise ValueError(
                f"the classifier knows {theirs} classes and the network {ours}; expected the same,"
                " or labels of the classifier's own: classifier_guidance(classifier, labels)."
            )

    def check_rows(self, num_images: int) -> None:
        super().check_rows(num_images)
        classes = getattr(getattr(self.function, "config", None), "num_classes", None)
        if self.labels is not None and classes is not None:
            _rows_of(self.labels, num_images, classes)

    def gradient(self, predictor: Predictor, x: Tensor, t: int) -> Tensor:
        # inference tensors have no gradient, and are not allowed to take part in one
        with torch.inference_mode(False), torch.enable_grad(), evaluating(self.function):
            x = x.detach().clone().requires_grad_()
            scores = self.function(x, predictor.diffusion.network_times(t, x))
            log_probs = self._of_labels(scores, predictor.labels, x)
            if not log_probs.requires_grad:
                raise ValueError(
                    "the classifier's output has no gradient; expected a function that is"
                    " differentiable in the images (no torch.no_grad(), detach() or argmax)."
                )
            (gradient,) = torch.autograd.grad(log_probs.sum(), x, allow_unused=True)
        if gradient is None:
            raise ValueError(
                "the classifier's output does not depend on the images; expected a log-probability"
                " that is differentiable in them."
            )
        if gradient.device.type == "cpu":  # a GPU would have to wait for the answer
            check_finite(f"the classifier's log-probabilities at t = {t}", log_probs.detach())
            check_finite(f"the classifier's gradients at t = {t}", gradient)
        return gradient

    def _of_labels(self, scores: Any, sampled: Tensor | None, x: Tensor) -> Tensor:
        """log p(y | x), (B,), of what the function gave."""
        if not isinstance(scores, Tensor) or not scores.is_floating_point():
            given = scores.dtype if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(f"the classifier gave {given}; expected floats, (B,) or (B, K).")
        shape = tuple(scores.shape)
        if shape == (len(x),):
            if self.labels is not None:
                raise ValueError(
                    "labels are given with a function that gives one log-probability an image;"
                    " expected none, as it knows what is wanted, or logits (B, K)."
                )
            return scores
        if scores.ndim != 2 or len(scores) != len(x) or scores.shape[1] < 2:
            raise ValueError(
                f"the classifier gave {shape} of {len(x)} images; expected log-probabilities"
                f" ({len(x)},), or logits ({len(x)}, K) of K > 1 classes."
            )
        labels = sampled if self.labels is None else self.labels
        if labels is None:
            raise ValueError(
                f"there are no labels, and the classifier gave logits {shape}; expected the wanted"
                " classes: classifier_guidance(classifier, labels), int64 (B,)."
            )
        exact = torch.promote_types(scores.dtype, torch.float32)
        rows = _rows_of(labels, len(x), scores.shape[1]).to(scores.device)
        return scores.to(exact).log_softmax(1).gather(1, rows[:, None])[:, 0]


def _check_signature(function: Any) -> None:
    """Raises ValueError if a function cannot be called with images and timesteps."""
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        raise ValueError(
            f"cond_fn(x, t) cannot be called so ({error}); expected a function of noisy images"
            " (B, C, H, W) and timesteps (B,)."
        ) from error
    except ValueError:  # it tells none, as some built-in ones
        return


def _checked_labels(labels: Any) -> Tensor:
    """int64 () or (B,)."""
    if isinstance(labels, Tensor):
        given = labels.detach().clone()
    else:
        try:
            given = torch.tensor(labels)
        except (TypeError, ValueError, RuntimeError):
            given = torch.empty(0)  # refused below
    whole = not given.is_floating_point() and not given.is_complex() and given.dtype != torch.bool
    if not whole or given.ndim > 1 or not given.numel():
        shown = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else labels
        raise ValueError(f"labels are {shown!r}; expected int64 (B,), or one class for all images.")
    return given.long()


def _rows_of(labels: Tensor, num_images: int, num_classes: int) -> Tensor:
    """One label an image, int64 (B,)."""
    if labels.ndim and len(labels) != num_images:
        raise ValueError(f"there are {len(labels)} labels; expected one for each of {num_images}.")
    seen = labels.device.type == "cpu"
    if seen and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"labels reach from {labels.min()} to {labels.max()}; expected 0..{num_classes - 1},"
            " the classes of the classifier."
        )
    return labels.clone().expand(num_images)


def _check_schedule(config: Any, predictor: Predictor) -> None:
    """Raises ValueError if a classifier's noise is another than the diffusion's, or told in t."""
    chain = predictor.diffusion
    if getattr(config, "rescale_timesteps", False) != chain.rescale_timesteps:
        raise ValueError(
            f"the classifier has rescale_timesteps {config.rescale_timesteps} and the diffusion"
            f" {chain.rescale_timesteps}; expected the same."
        )
    theirs = (1 - torch.tensor(config.betas, dtype=torch.float64)).cumprod(0)
    known = int(chain.timesteps[-1]) < len(theirs)
    if not known or not torch.allclose(theirs[chain.timesteps], chain.alphas_cumprod, rtol=1e-6):
        raise ValueError(
            f"the classifier was trained on the noise of another diffusion, of {len(theirs)}"
            " timesteps; expected one that was trained on the noise of the sampled diffusion."
        )
