"""Guidance: classifiers and other conditions, classifier-free, and by a weaker network.

    classifier        score + s grad_x log p(y | x)             arXiv 2105.05233, algorithms 1 and 2
    classifier-free   out(null) + s (out(y) - out(null))        arXiv 2207.12598, equation 6
    auto              out'(y) + s (out(y) - out'(y))            arXiv 2406.02507, equation 3

out is what the network predicts (all kinds are linear in the noise, so that it may be any), out' a
weaker network. Where scores are exact, s = 1 gives p(x | y), and a larger s a sharper distribution
of less diversity, with p(x) p(y | x)^s at each noise level. All of them act in `sample(guidance=)`,
alone or several in a list, by the arithmetic of guides.py.

Shapes: B images (B, C, H, W), K classes.
"""

from torch import Tensor, nn

from .conditions import Gradient, LogProbability
from .contrasts import NullClass, WeakerNetwork
from .denoisers import Denoiser
from .guides import Guide


def classifier_guidance(
    cond_fn_or_classifier: LogProbability | nn.Module,
    labels: Tensor | int | None = None,
    scale: float | Tensor = 1.0,
    at: str = "mean",
    *,
    interval: tuple[float, float] | None = None,
) -> Guide:
    """Steers by the gradient of a log-probability, as of a classifier of noisy images.

    The classifier is run in evaluation mode, and no gradient of its weights is taken. One image is
    steered alike alone and in a batch. At scale 0 images are the unguided ones, to the bit.

    Args:
        cond_fn_or_classifier: function of noisy images (B, C, H, W) and of the timesteps that a
            network is told (B,), differentiable in the images: log-probabilities (B,) of what is
            wanted, in nats up to a constant; or logits (B, K) of classes, as a [`NoisyClassifier`].
            Where alpha_bar is 0 it is not asked: it could not know.
        labels: the wanted classes, int64 (B,), or one for all; None = those of the sampling. Not
            for a function that gives (B,).
        scale: s, a number, or one an image (B,); 0 = off.
        at: where ancestral sampling takes the gradient: "mean" = at the mean of p(x_{t-1} | x_t),
            one noise level further (the paper's equations 5 to 10); "x_t" (the released code);
            "epsilon" = at x_t, as a shift of the predicted noise (algorithm 2). The last is what
            all other samplers do in any case: they read no mean. In few steps of a small
            variance "mean" and "epsilon" reach the class where "x_t" falls short; in few steps of
            a large one ("fixed_large") "mean" may carry images too far, the other two do not.
        interval: (low, high): on at noise levels low < sigma <= high only, where sigma =
            sqrt((1 - ab_t) / ab_t) (arXiv 2404.07724); None = at all of them.

    Returns:
        A guide for `sample(..., guidance=)`.

    Raises:
        ValueError: if an argument is not as it should be; in `sample`, before the first step, if
            the classifier was trained on another diffusion, on other images or on other classes,
            labels are missing or out of range, or the function gives another shape or has no
            gradient.
    """
    return Gradient(cond_fn_or_classifier, labels, scale, at, interval)


def classifier_free_guidance(
    scale: float | Tensor,
    rescale: float | None = None,
    *,
    unconditional: Denoiser | None = None,
    interval: tuple[float, float] | None = None,
) -> Guide:
    """Steers away from what the network says without labels, by one call for twice the images.

    Args:
        scale: s, a number, or one an image (B,): 0 = as if without labels, 1 = off, above =
            sharper. (The paper's w is s - 1.)
        rescale: share, in [0, 1], of the result whose every image gets the standard deviation of
            the unguided prediction, against overexposure (arXiv 2305.08891, equations 15 and 16;
            0.7 there); None = 0.
        unconditional: a network without classes that takes the null class's place; None = the
            network itself, which has been trained with `--label_dropout` (`UNetConfig.null_class`).
            A function in a network's place is called without labels.
        interval: as of [`classifier_guidance`].

    Returns:
        A guide for `sample(..., labels=, guidance=)`.

    Raises:
        ValueError: if an argument is not as it should be; in `sample`, before the first step, if
            there are no labels, or the network has no null class.
    """
    if unconditional is None:
        return NullClass(scale, interval, rescale)
    return WeakerNetwork(unconditional, scale, interval, rescale, with_labels=False)


def autoguidance(
    weaker_model: Denoiser,
    scale: float | Tensor,
    *,
    rescale: float | None = None,
    interval: tuple[float, float] | None = None,
) -> Guide:
    """Steers away from what a weaker version of the network says, trained shorter or smaller.

    It sharpens like classifier-free guidance and keeps the diversity of the class, and it also
    serves networks without classes.

    Args:
        weaker_model: a denoiser of the same diffusion and images; asked with the same labels.
        scale: s, a number, or one an image (B,): 0 = the weaker one, 1 = off, above = sharper.
        rescale: as of [`classifier_free_guidance`].
        interval: as of [`classifier_guidance`].

    Returns:
        A guide for `sample(..., guidance=)`.

    Raises:
        ValueError: if an argument is not as it should be; in `sample`, before the first step, if
            the networks are of other images or classes.
    """
    return WeakerNetwork(weaker_model, scale, interval, rescale, with_labels=True)
