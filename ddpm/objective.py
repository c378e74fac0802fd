"""DiffusionObjective: the loss that the training loop minimises, over numbered examples.

    loss = mean over images of w_t * diffusion.losses(model, x_0, t, noise, labels)

Everything random about example k of a run is a function of (seed, k), see examples.py: its noise,
its flip, and the uniform number that becomes its timestep.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ardm.training import Batch

from .augmentation import mirrored
from .checks import is_number
from .denoisers import Denoiser
from .diffusion import GaussianDiffusion
from .examples import (
    CONDITION,
    FLIP,
    LABEL,
    example_images,
    example_noise,
    example_uniforms,
    spread_uniforms,
)
from .noise import stream
from .timesteps import Timesteps, UniformTimesteps, stratified_timesteps

# (model, images, generators) -> the model with what else it is given of these images
Condition = Callable[[Denoiser, Tensor, Sequence[torch.Generator]], Denoiser]


class DiffusionObjective:
    """A loss function (model, batch) -> figures for a training loop.

    A batch holds "images", uint8 or floats in [-1, 1] (B, C, H, W), and perhaps "labels", int64
    (B,).

    Args:
        diffusion: of the model.
        seed: key of everything random.
        timesteps: how timesteps are chosen; None = uniformly. It learns from the losses of a step
            when the next begins, so that splitting a step into micro-batches changes nothing.
        random_flip: mirror each image with probability 1/2, left to right.
        label_dropout: share of the labels that are replaced by `null_label`, for classifier-free
            guidance.
        null_label: label of an image without class.
        condition: binds what else the model is given of the images, as an upsampler
            (`ddpm.conditioning.OwnLowResolution`); None = nothing.

    Raises:
        ValueError: if a setting is out of range.
    """

    def __init__(
        self,
        diffusion: GaussianDiffusion,
        seed: int = 0,
        timesteps: Timesteps | None = None,
        *,
        random_flip: bool = False,
        label_dropout: float = 0.0,
        null_label: int | None = None,
        condition: Condition | None = None,
    ):
        if timesteps is not None and timesteps.num_timesteps != diffusion.num_timesteps:
            raise ValueError(
                f"timesteps are of {timesteps.num_timesteps} steps and the diffusion of"
                f" {diffusion.num_timesteps}; expected the same."
            )
        if not is_number(label_dropout, lambda dropped: 0 <= dropped < 1):
            raise ValueError(
                f"label_dropout is {label_dropout!r}; expected a share, 0 <= share < 1."
            )
        if label_dropout and null_label is None:
            raise ValueError(
                f"label_dropout is {label_dropout!r} and null_label None; expected a label that"
                " takes the place of the dropped ones."
            )
        self.diffusion = diffusion
        self.seed = seed
        self.random_flip = random_flip
        self.timesteps: Timesteps = (
            UniformTimesteps(diffusion.num_timesteps) if timesteps is None else timesteps
        )
        self.label_dropout = label_dropout
        self.null_label = -1 if null_label is None else null_label
        self.condition = condition
        self.step = -1
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __call__(self, model: Denoiser, batch: Batch) -> dict[str, Tensor]:
        """The loss of one micro-batch.

        Args:
            model: a denoiser.
            batch: see above.

        Returns:
            "loss", which is minimised: on average the mean over all timesteps, however they are
            chosen.

        Raises:
            ValueError: if there is no image, or images or labels are not as they should be.
        """
        numbers = batch.example_numbers.tolist()
        images = self._images(batch["images"], numbers)
        labels = self._labels(batch.get("labels"), numbers)
        if self.condition is not None:
            keyed = [stream(self.seed, CONDITION, number) for number in numbers]
            model = self.condition(model, images, keyed)
        t, weights = self._choose(numbers, batch.global_batch_size)
        t = t.to(images.device)
        weights = weights.to(images.device, images.dtype)
        noise = example_noise(self.seed, numbers, images)
        losses = self.diffusion.losses(model, images, t, noise, labels)
        self.seen.append((t, losses.detach()))
        return {"loss": (weights * losses).mean()}

    def _choose(self, numbers: list[int], global_batch_size: int) -> tuple[Tensor, Tensor]:
        step = numbers[0] // global_batch_size
        if step != self.step:
            self.settle()
            self.step = step
        uniforms = spread_uniforms(self.seed, numbers, global_batch_size)
        return stratified_timesteps(self.timesteps.probabilities(), uniforms)

    def settle(self) -> None:
        """Lets the timesteps learn from the losses of the step that has ended."""
        for t, losses in self.seen:
            self.timesteps.update(t, losses)
        self.seen = []

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs; call it between steps, on all processes."""
        self.settle()
        return self.timesteps.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what [`DiffusionObjective.state_dict`] gave.

        Args:
            state: of the timesteps.
        """
        self.timesteps.load_state_dict(state)
        self.step = -1
        self.seen = []

    def _images(self, images: Tensor, numbers: list[int]) -> Tensor:
        images = example_images(images, numbers)
        if not self.random_flip:
            return images
        return mirrored(images, example_uniforms(self.seed, FLIP, numbers))

    def _labels(self, labels: Tensor | None, numbers: list[int]) -> Tensor | None:
        if labels is None or not self.label_dropout:
            return labels
        dropped = example_uniforms(self.seed, LABEL, numbers)[:, 0] < self.label_dropout
        return labels.masked_fill(dropped.to(labels.device), self.null_label)
