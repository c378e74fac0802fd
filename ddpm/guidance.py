"""Guidance: classifiers and other conditions, classifier-free, and by a weaker network.

    classifier        score + s grad_x log p(y | x)             arXiv 2105.05233, algorithms 1 and 2
    classifier-free   out(null) + s (out(y) - out(null))        arXiv 2207.12598, equation 6
    auto              out'(y) + s (out(y) - out'(y))            arXiv 2406.02507, equation 3

out is what the network predicts (all kinds are linear in the noise, so that it may be any), out' a
weaker network. Where scores are exact, s = 1 gives p(x | y), and a larger s a sharper distribution
of less diversity, with p(x) p(y | x)^s at each noise level. All of them act in `sample(guidance=)`,
alone or several in a list, by the arithmetic of guides.py; [`guided`] puts them around a predictor.

Shapes: B images (B, C, H, W), K classes.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from .conditions import Gradient, LogProbability
from .contrasts import NullClass, WeakerNetwork
from .denoisers import Denoiser
from .guides import Guide, Guided
from .predictors import Predictor
from .reverse_process import Reverse
from .steps import Predict

Guidance = Callable[[Predictor], Predict]  # a guide is one
Guides = Guidance | Sequence[Guidance]


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


def guided(predictor: Predictor, guidance: Any) -> Predict:
    """The predictor, or what a guidance puts in its place.

    Args:
        predictor: of the network.
        guidance: a guide, or a function of the predictor that gives a function (x, t) ->
            [`Reverse`]; several in a list, of which the guides add up and the functions are put
            around them, the first innermost; None = the predictor itself.

    Returns:
        A function of (x, t).

    Raises:
        ValueError: if the guidance is no such function; on a call, if it gives no [`Reverse`],
            which is all that samplers read.
    """
    several = list(guidance) if isinstance(guidance, (list, tuple)) else [guidance]
    wraps = [each for each in several if each is not None]
    wraps.sort(key=lambda each: not isinstance(each, Guide))  # guides first
    predict: Predict = predictor
    for wrap in wraps:
        predict = _wrapped(wrap, predict)
    return predict if predict is predictor or isinstance(predict, Guided) else _checked(predict)


def _wrapped(wrap: Any, predict: Predict) -> Predict:
    """What a guidance gives; ValueError if it is none."""
    # a network can be called, and is nothing that wraps a predictor
    wraps_one = callable(wrap) and not isinstance(wrap, nn.Module)
    given = wrap(predict) if wraps_one else None
    if isinstance(given, Guide):
        raise ValueError(
            f"the guidance gave a {type(given).__name__}, which is a guide; expected the guide"
            " itself, such as guidance=classifier_guidance(classifier, labels)."
        )
    if not callable(given) or isinstance(given, nn.Module):
        kind = f"guidance is a {type(wrap).__name__}"
        kind = f"the guidance gave a {type(given).__name__}" if wraps_one else kind
        raise ValueError(
            f"{kind}; expected a function that wraps a predictor and gives a function of"
            " (x, t), such as classifier_guidance(classifier, labels) is."
        )
    return given


def _checked(predict: Callable[[Tensor, int], Any]) -> Predict:
    def checked(x: Tensor, t: int) -> Reverse:
        p = predict(x, t)
        if not isinstance(p, Reverse):
            raise ValueError(
                f"the guidance gave a {type(p).__name__} at t = {t}; expected what the predictor"
                " gives, changed by its `with_x0` or `with_mean`."
            )
        return p

    return checked
