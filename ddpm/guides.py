"""Guides: what a guide is, and a predictor that several of them steer at once.

A guide moves either what the network says, before it becomes an image and is clipped, or the score
of p(x_{t-1} | x_t), by the gradient of the log-probability of a condition y:

    output  <-  output + sum_i (moved_i - output)                       contrasts
    x0      <-  x0   + (1 - ab_t) / sqrt(ab_t) sum_j s_j grad log p_j(y | x_t)     at "epsilon"
    mean    <-  mean + variance sum_j s_j grad log p_j(y | x_t)                    at "x_t"
    mean    <-  mean + variance sum_j s_j grad log p_j(y | x_{t-1} = mean)         at "mean"

(arXiv 2105.05233, equations 10 and 14.) Each term is computed from what was there before all of
them, so that guides add up and their order does not matter. guidance.py has the guides.

Shapes: B images (B, C, H, W), T timesteps.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from .checks import check_choice, is_number
from .intervals import Interval
from .predictors import Predictor
from .reverse_process import Reverse

PLACES = ("mean", "x_t", "epsilon")


class Guide(ABC):
    """Something that steers: how strongly, at which noise levels, and for which images.

    Called with a predictor, it gives what takes the predictor's place; with what another guide
    gave, it gives what both steer.

    Args:
        scale: a number, or one an image (B,); at `neutral` nothing is steered.
        interval: (low, high): on at noise levels low < sigma <= high, where sigma =
            sqrt((1 - ab_t) / ab_t) (arXiv 2404.07724, section 3); None = everywhere.

    Raises:
        ValueError: if a scale is no finite number, or the interval holds no noise level.
    """

    neutral: ClassVar[float]

    def __init__(self, scale: Any, interval: Any):
        self.scale = _checked_scale(scale)
        self.interval = Interval.of(interval)

    def __call__(self, predictor: "Predictor | Guided") -> "Guided":
        """The predictor, steered by this guide, too."""
        if isinstance(predictor, Guided):
            return Guided(predictor.predictor, [*predictor.guides, self])
        if not isinstance(predictor, Predictor):
            raise ValueError(
                f"a guide is to steer a {type(predictor).__name__}; expected a predictor or what a"
                " guide gave: put your own functions around guides, guidance=[guide, function]."
            )
        return Guided(predictor, [self])

    def acts(self, sigma: float) -> bool:
        """Whether any image is steered at a noise level."""
        return self.interval.holds(sigma) and bool((self.scale != self.neutral).any())

    def scale_of(self, x: Tensor) -> Tensor:
        """The scale, (B, 1, 1, 1) or (), as x is."""
        scale = self.scale.to(x)
        return scale.view(-1, *[1] * (x.ndim - 1)) if scale.ndim else scale

    @abstractmethod
    def check(self, predictor: Predictor) -> None:
        """Raises ValueError if the guide does not go with the predictor."""

    def check_rows(self, num_images: int) -> None:
        """Raises ValueError unless there is one scale for all images, or one for each."""
        if self.scale.ndim and len(self.scale) != num_images:
            raise ValueError(
                f"the guide has {len(self.scale)} scales; expected one, or one for each of"
                f" {num_images} images."
            )


class Contrast(Guide):
    """Moves the network's output away from what a weaker network says of the same images.

        moved = weaker + s (output - weaker)

    (arXiv 2207.12598, equation 6; arXiv 2406.02507, equation 3.)

    Args:
        scale: s.
        interval: as of every guide.
        rescale: share, in [0, 1], of the result that gets the spread of the output, image by image
            (arXiv 2305.08891, equations 15 and 16); None = 0.

    Raises:
        ValueError: if a setting is out of range.
    """

    neutral = 1.0

    def __init__(self, scale: Any, interval: Any, rescale: Any):
        super().__init__(scale, interval)
        if rescale is not None and not is_number(rescale, lambda share: 0 <= share <= 1):
            raise ValueError(f"rescale is {rescale!r}; expected a number in [0, 1], or None.")
        self.rescale = float(rescale or 0)

    @abstractmethod
    def null_labels(self, predictor: Predictor) -> Tensor | None:
        """int64 (B,) if the weaker network is the predictor's with other labels; else None."""

    @abstractmethod
    def ask(self, predictor: Predictor, x: Tensor, t: int) -> Tensor:
        """What the weaker network says, (B, C or 2C, H, W), if it is another."""

    def gives_weaker(self) -> bool:
        """Whether what it gives is what the weaker network says, of all images."""
        return not self.scale.any() and not self.rescale

    def move(self, output: Tensor, weaker: Tensor, num_channels: int) -> Tensor:
        """The output (B, C or 2C, H, W), moved, of a prediction of C channels."""
        said, rest = output.split((num_channels, output.shape[1] - num_channels), 1)
        other, other_rest = weaker.split((num_channels, weaker.shape[1] - num_channels), 1)
        scale = self.scale_of(said)
        moved = torch.lerp(other, said, scale.expand_as(said))  # exact at 0 and at 1
        if self.rescale:
            moved = torch.lerp(moved, moved * _spread(said) / _spread(moved), self.rescale)
        if rest.shape == other_rest.shape:  # a variance between the two, and no further
            rest = torch.lerp(other_rest, rest, scale.clamp(0, 1).expand_as(rest))
        return torch.cat((moved, rest), dim=1)


class Condition(Guide):
    """Adds the gradient of log p(y | .) to the score.

    Args:
        scale: of the gradient: 0 = off.
        interval: as of every guide.
        at: where a sampler that goes to p's mean takes the gradient: at the "mean" that it goes
            to, at "x_t", or at x_t as a shift of "epsilon", which is what all other samplers do.

    Raises:
        ValueError: if a setting is out of range.
    """

    neutral = 0.0

    def __init__(self, scale: Any, interval: Any, at: Any):
        super().__init__(scale, interval)
        check_choice("at", at, PLACES)
        self.at = at

    @abstractmethod
    def gradient(self, predictor: Predictor, x: Tensor, t: int) -> Tensor:
        """grad log p(y | x), not scaled, where x is noised as x_t is; (B, C, H, W)."""


class Guided:
    """A predictor that guides steer: (x_t, t) -> p(x_{t-1} | x_t).

    Args:
        predictor: of the network.
        guides: in any order.

    Raises:
        ValueError: if a guide does not go with the predictor, or its interval holds none of the
            chain's noise levels.
    """

    def __init__(self, predictor: Predictor, guides: Sequence[Guide]):
        self.predictor = predictor
        self.guides = list(guides)
        self.contrasts = [guide for guide in guides if isinstance(guide, Contrast)]
        conditions = [guide for guide in guides if isinstance(guide, Condition)]
        for guide in [*self.contrasts, *conditions]:
            guide.check(predictor)
        self.conditions: dict[str, list[Condition]] = {place: [] for place in PLACES}
        for guide in conditions:
            # a sampler that reads the image alone has no mean to go to
            self.conditions[guide.at if predictor.reads_mean else "epsilon"].append(guide)
        signal = predictor.diffusion.alphas_cumprod
        self.sigmas: list[float] = ((1 - signal) / signal).sqrt().tolist()
        # where nothing of an image is left, nothing says what it shows: the gradient is 0
        of_score = torch.where(signal > 0, (1 - signal) / signal.sqrt(), 0)
        self.of_score: list[float] = of_score.tolist()
        for guide in guides:
            guide.interval.check(self.sigmas)
            if predictor.num_images is not None:
                guide.check_rows(predictor.num_images)
        self._begun = False

    def __call__(self, x: Tensor, t: int) -> Reverse:
        """p(x_{t-1} | x_t) for all images at one t."""
        if not self._begun:
            self._try(x, t)
            self._begun = True
        # before the network is called: what is wrong with a condition is found at once
        of_image = self._gradients("epsilon", x, t)
        of_mean = self._gradients("x_t", x, t)
        p = self.predictor.reverse(self._output(x, t), x, t)
        if t > 0:  # the last step's variance is 0, and there is no noise level before the image's
            of_mean += self._gradients("mean", p.mean, t - 1, sigma=self.sigmas[t])
        return self._shifted(p, of_image, of_mean)

    def _shifted(self, p: Reverse, of_image: list[Tensor], of_mean: list[Tensor]) -> Reverse:
        """p with its score moved by the sums of these gradients."""
        clip = self.predictor.clip
        moved = p
        if of_image:
            # equation 14, of the image; what is expected of images is in their range, but where
            # next to nothing is seen a trained classifier's least error is a step out of it
            moved = moved.with_x0(clip(moved.x0 + self.of_score[p.t] * sum(of_image)))
        if of_mean:
            # equation 10
            moved = moved.with_mean(moved.mean + p.variance * sum(of_mean))
            if p.t == 0:  # an image comes out
                moved = moved.with_x0(clip(moved.x0))
        return moved

    def _gradients(self, place: str, x: Tensor, t: int, sigma: float | None = None) -> list[Tensor]:
        """Scaled gradients of the conditions at one place that act at x's noise level."""
        sigma = self.sigmas[t] if sigma is None else sigma
        return [
            guide.scale_of(x) * guide.gradient(self.predictor, x, t)
            for guide in self.conditions[place]
            if guide.acts(sigma)
        ]

    def _output(self, x: Tensor, t: int) -> Tensor:
        """The network's output (B, C or 2C, H, W); whatever is asked of it is one batch."""
        predictor = self.predictor
        acting = [guide for guide in self.contrasts if guide.acts(self.sigmas[t])]
        nulls = {guide: guide.null_labels(predictor) for guide in acting}
        batched = {guide: labels for guide, labels in nulls.items() if labels is not None}
        if len(batched) == len(acting) == 1 and acting[0].gives_weaker():
            return predictor.output(x, t, batched[acting[0]])  # the weaker one, to the bit
        # other networks first: what is wrong with one is found before this one is called
        weaker = {guide: guide.ask(predictor, x, t) for guide in acting if guide not in batched}
        output, *rest = predictor.outputs(x, t, list(batched.values()))
        weaker |= dict(zip(batched, rest, strict=True))
        moved = [guide.move(output, weaker[guide], x.shape[1]) for guide in acting]
        if len(moved) == 1:  # to the last digit, too
            return moved[0]
        return output + sum(each - output for each in moved)

    def _try(self, x: Tensor, t: int) -> None:
        """Calls the conditions that the first step does not call before the network."""
        for guide in self.guides:
            guide.check_rows(len(x))
        for place, guides in self.conditions.items():
            for guide in guides:
                if place == "mean" or not guide.acts(self.sigmas[t]):
                    # where it will act: elsewhere it need not be defined
                    times = (s for s in range(t, -1, -1) if guide.acts(self.sigmas[s]))
                    guide.gradient(self.predictor, x, next(times, t))


def _checked_scale(scale: Any) -> Tensor:
    """float64 () or (B,), on the CPU."""
    if isinstance(scale, Predictor):  # a function that makes guides, in a guide's place
        raise ValueError(
            "the guidance is a function that makes a guide; expected what it makes, such as"
            " guidance=classifier_free_guidance(2.0)."
        )
    numbers = scale.tolist() if isinstance(scale, Tensor) else scale
    several = isinstance(numbers, Sequence) and not isinstance(numbers, str) and len(numbers) > 0
    if not all(is_number(each, lambda _: True) for each in (numbers if several else [numbers])):
        raise ValueError(f"scale is {scale!r}; expected a finite number, or one for each image.")
    return torch.tensor(numbers, dtype=torch.float64)


def _spread(images: Tensor) -> Tensor:
    """Standard deviation of each image, (B, 1, ...); 1 where all its values are the same."""
    deviations = images.flatten(1).std(1).view(-1, *[1] * (images.ndim - 1))
    return torch.where(deviations > 0, deviations, 1)
