"""What a run reports of its model: loss and bound of held-out images, and how good samples are.

The bound is prior + sum over t of L_t, and the terms fall over four orders of magnitude from t = 0
on. It is estimated from one t of each of some thirty strata that grow geometrically, drawn anew for
every image: on average the estimate is the whole sum.

All images are shared out over the processes, and what is random of an image is keyed by its number.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ardm.training import check_integer, evaluating, measure_rows, own_share

from ..denoisers import Denoiser, to_model_range, to_uint8
from ..diffusion import GaussianDiffusion
from ..drawing import balanced_labels, draw_images
from ..losses import LOSSES, Noised
from ..metrics import FeatureExtractor, ImageQuality, ImageQualityEvaluation
from ..metrics.feature_classifier import SmallClassifier, train_feature_classifier
from ..noise import RowNoise, stream
from ..objective import Condition
from ..steps import STEPS

# what can be compared: a sampler, and the variance of its steps where it is not the model's own
SAMPLERS: dict[str, tuple[str, str | None]] = {
    "ddpm": ("ddpm", None),
    "ddpm, fixed_small": ("ddpm", "fixed_small"),
    "ddpm, fixed_large": ("ddpm", "fixed_large"),
    **{name: (name, None) for name in STEPS},
}


class Images(Protocol):
    """A data set: items with "images", uint8 (C, H, W), and perhaps "labels", int64 ()."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Tensor]: ...


def timestep_strata(num_timesteps: int, ratio: float = 1.25) -> list[range]:
    """Consecutive ranges of timesteps that grow geometrically.

    Args:
        num_timesteps: T.
        ratio: of the end of a range to its start, at most (but every range has one timestep).

    Returns:
        Ranges that cover 0..T-1.
    """
    strata = []
    start = 0
    while start < num_timesteps:
        stop = min(max(start + 1, int(start * ratio)), num_timesteps)
        strata.append(range(start, stop))
        start = stop
    return strata


class BoundEvaluation:
    """The training loss and the bound on some images, for a training loop's `eval_fn`.

    Args:
        dataset: the images.
        diffusion: of the model.
        max_images: how many of the first ones; None = all.
        batch_size: images that go through the network side by side.
        seed: of timesteps and noise.
        condition: as for `DiffusionObjective`: the bound is then one given what it binds.

    Raises:
        ValueError: if there are no images.
    """

    def __init__(
        self,
        dataset: Images,
        diffusion: GaussianDiffusion,
        max_images: int | None = None,
        batch_size: int = 256,
        seed: int = 0,
        condition: Condition | None = None,
    ):
        self.images, self.labels = stacked(dataset, max_images)
        self.condition = condition
        self.diffusion = diffusion
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The figures; to be called on all processes.

        Args:
            model: a network with parameters.

        Returns:
            "eval_loss", as the training minimises it, "bits_per_dim" and its standard error over
            images.
        """
        device = next(model.parameters()).device
        with evaluating(model):
            figures = measure_rows(
                len(self),
                lambda numbers: self._figures(model, numbers, device),
                device=device,
                shape=(2,),
                batch_size=self.batch_size,
                unit="image",
            )
        loss, bits = figures.unbind(1)
        error = float(bits.std()) / math.sqrt(len(self)) if len(self) > 1 else math.nan
        return {
            "eval_loss": float(loss.mean()),
            "bits_per_dim": float(bits.mean()),
            "bits_per_dim_standard_error": error,
        }

    def _figures(self, model: Denoiser, numbers: Tensor, device: torch.device) -> Tensor:
        """float64 (B, 2): loss and bits per dimension of each image."""
        images = to_model_range(self.images[numbers]).to(device)
        labels = None if self.labels is None else self.labels[numbers].to(device)
        streams = [stream(self.seed, number) for number in numbers.tolist()]
        if self.condition is not None:
            model = self.condition(model, images, streams)
        noise = RowNoise(streams)
        prior = self.diffusion.prior_bits(images)
        figures = torch.stack((torch.zeros_like(prior), prior), dim=1)
        for stratum in timestep_strata(self.diffusion.num_timesteps):
            places = torch.stack([torch.rand((), generator=each) for each in streams])
            t = (stratum.start + (places * len(stratum)).long()).to(device)
            added = noise(images)
            batch = Noised(images, t, added, self.diffusion.q_sample(images, t, added))
            output = self.diffusion.call(model, batch.x_t, t, labels)
            terms = [
                LOSSES[name](self.diffusion, batch, output).double()
                for name in (self.diffusion.loss, "vlb")
            ]
            figures += len(stratum) / self.diffusion.num_timesteps * torch.stack(terms, dim=1)
        return figures


class SampleEvaluation:
    """FID and its kin of samples against real images, for any sampler and number of steps.

    Args:
        dataset: the real images.
        extractor: as for `ImageQualityEvaluation`.
        num_images: samples of each evaluation; their labels go through the data set's classes in
            turn.
        batch_size: images drawn side by side.
        seed: of the samples.

    Raises:
        ValueError: if there are fewer images, or fewer are to be drawn, than the figures need.
    """

    def __init__(
        self,
        dataset: Images,
        extractor: FeatureExtractor | nn.Module | str,
        num_images: int,
        batch_size: int = 250,
        seed: int = 0,
    ):
        from accelerate import PartialState

        num_images = check_integer("num_images", num_images, 1)
        real, labels = stacked(dataset)
        num_classes = None if labels is None else int(labels.max()) + 1
        self.labels = balanced_labels(num_images, num_classes)
        self.image_shape = tuple(real.shape[1:])
        self.num_images = num_images
        self.batch_size = batch_size
        self.seed = seed
        self.state = PartialState()
        self.quality = ImageQualityEvaluation(extractor, seed=seed)
        self.quality.check_counts(num_images, len(real))
        for numbers in own_share(len(real)).split(batch_size):
            self.quality.update_reference(to_model_range(real[numbers]), numbers)

    def __call__(
        self, model: Denoiser, diffusion: GaussianDiffusion, sampler: str, steps: int | str | None
    ) -> ImageQuality:
        """Draws and compares; to be called on all processes.

        Args:
            model: of the diffusion.
            diffusion: of the model.
            sampler: a name in `SAMPLERS`.
            steps: as for `sample`.

        Returns:
            The figures, the same on all processes.
        """
        name, variance = SAMPLERS[sampler]
        process = diffusion if variance is None else diffusion.with_variance(variance)
        return self.measure(model, process, sampler=name, steps=steps)

    def measure(
        self,
        model: Denoiser,
        diffusion: GaussianDiffusion,
        look: Callable[[Tensor, Tensor], None] | None = None,
        **options: Any,
    ) -> ImageQuality:
        """Draws and compares, with any options of `sample`; to be called on all processes.

        Args:
            model: of the diffusion.
            diffusion: of the model.
            look: called with the numbers (B,) and images (B, C, H, W) of each batch that is drawn
                here, as they are compared.
            **options: of `sample`.

        Returns:
            The figures, the same on all processes.
        """
        samples = draw_images(
            model,
            diffusion,
            self.num_images,
            self.image_shape,
            seed=self.seed,
            labels=self.labels,
            batch_size=self.batch_size,
            process_index=self.state.process_index,
            num_processes=self.state.num_processes,
            progress=False,
            **options,
        )
        self.quality.reset()
        for numbers, images in samples:
            as_saved = to_model_range(to_uint8(images.cpu()))  # what a file would hold
            self.quality.update(as_saved, numbers)
            if look is not None:
                look(numbers, as_saved)
        return self.quality.compute()


def extractor_of(
    train: Images, held_out: Images | None, data_name: str, seed: int = 0
) -> SmallClassifier | None:
    """A classifier of the data's own classes, trained here, whose features compare small images.

    Args:
        train: what it learns from.
        held_out: what the accuracy in its name is of; None = what it learned from.
        data_name: for the extractor's name.
        seed: of its training.

    Returns:
        An extractor for [`SampleEvaluation`]; None without labels.
    """
    images, labels = stacked(train)
    if labels is None:
        return None
    others = None
    if held_out is not None:
        other_images, other_labels = stacked(held_out)
        others = None if other_labels is None else (to_model_range(other_images), other_labels)
    return train_feature_classifier(
        to_model_range(images), labels, held_out=others, data_name=data_name, seed=seed
    )


def stacked(dataset: Images, max_images: int | None = None) -> tuple[Tensor, Tensor | None]:
    """The first images of a data set, side by side.

    Args:
        dataset: the images.
        max_images: how many at most; None = all.

    Returns:
        uint8 (N, C, H, W), and the labels int64 (N,), or None.

    Raises:
        ValueError: if there are none.
    """
    count = len(dataset) if max_images is None else min(max_images, len(dataset))
    if count < 1:
        raise ValueError(
            f"there are {len(dataset)} images and max_images is {max_images}; expected at least 1."
        )
    items = [dataset[number] for number in range(count)]
    labels = torch.stack([item["labels"] for item in items]) if "labels" in items[0] else None
    return torch.stack([item["images"] for item in items]), labels
