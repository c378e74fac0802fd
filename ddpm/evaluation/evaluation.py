"""What a run reports of its model: the loss and the bound on held-out images, and how good its
samples are.

The bound is prior + sum over t of L_t, and the terms fall over four orders of magnitude from t = 0
on. It is estimated
from one t of each of some thirty strata that grow geometrically, drawn anew for every image: on
    average the estimate is
the whole sum.

All images are shared out over the processes, and what is random of an image is keyed by its number.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..data.pixels import to_model_range, to_uint8
from ..denoisers import Denoiser, evaluating
from ..diffusion import GaussianDiffusion
from ..drawing import balanced_labels, draw_images
from ..hub.cards import Likelihood
from ..losses import LOSSES, Noised
from ..metrics.feature_classifier import train_feature_classifier
from ..metrics.quality import ImageQuality, ImageQualityEvaluation
from ..noise import RowNoise, stream

# what is compared: a sampler, and the variance that its steps take where it is not the model's own
SAMPLERS: dict[str, tuple[str, str | None]] = {
    "ddpm": ("ddpm", None),
    "ddpm, fixed_small": ("ddpm", "fixed_small"),
    "ddpm, fixed_large": ("ddpm", "fixed_large"),
    "ddim": ("ddim", None),
    "heun": ("heun", None),
    "dpm_solver++": ("dpm_solver++", None),
}


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
        dataset: items with "images", uint8 (C, H, W), and perhaps "labels".
        diffusion: of the model.
        max_images: how many of the first ones; None = all.
        batch_size: images that go through the network side by side.
        seed: of timesteps and noise.

    Raises:
        ValueError: if there are no images.
    """

    def __init__(
        self,
        dataset: Any,
        diffusion: GaussianDiffusion,
        max_images: int | None = None,
        batch_size: int = 256,
        seed: int = 0,
    ):
        self.images, self.labels = stacked(dataset, max_images)
        self.diffusion = diffusion
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    @torch.no_grad()
    def __call__(self, model: Any) -> dict[str, float]:
        """The figures; to be called on all processes.

        Args:
            model: a network with parameters.

        Returns:
            "eval_loss", as the training minimises it, "bits_per_dim" and its standard error over
            images.
        """
        from accelerate import PartialState
        from accelerate.utils import reduce

        state = PartialState()
        device = next(model.parameters()).device
        figures = torch.zeros(len(self), 2, dtype=torch.float64)
        share = torch.arange(len(self))[state.process_index :: state.num_processes]
        with evaluating(model):
            for numbers in share.split(self.batch_size):
                if len(numbers):
                    figures[numbers] = self._figures(model, numbers, device).cpu()
        loss, bits = reduce(figures.to(device), reduction="sum").cpu().unbind(1)
        error = float(bits.std()) / math.sqrt(len(self)) if len(self) > 1 else math.nan
        return {
            "eval_loss": float(loss.mean()),
            "bits_per_dim": float(bits.mean()),
            "bits_per_dim_standard_error": error,
        }

    def likelihood(self, model: Any, data_name: str) -> Likelihood:
        """The bound for a card; to be called on all processes.

        Args:
            model: a network with parameters.
            data_name: of the images.

        Returns:
            Bits per dimension with their standard error.
        """
        found = self(model)
        return Likelihood(
            dataset=data_name,
            num_images=len(self),
            bits_per_dim=found["bits_per_dim"],
            standard_error=found["bits_per_dim_standard_error"],
        )

    def _figures(self, model: Denoiser, numbers: Tensor, device: torch.device) -> Tensor:
        """float64 (B, 2): loss and bits per dimension of each image."""
        images = to_model_range(self.images[numbers]).to(device)
        labels = None if self.labels is None else self.labels[numbers].to(device)
        streams = [stream(self.seed, number) for number in numbers.tolist()]
        noise = RowNoise(streams)
        figures = torch.stack(
            (torch.zeros(len(images), device=device).double(), self.diffusion.prior_bits(images)),
            dim=1,
        )
        for stratum in timestep_strata(self.diffusion.num_timesteps):
            places = torch.stack([torch.rand((), generator=each) for each in streams])
            t = (stratum.start + (places * len(stratum)).long()).to(device)
            draw = noise(images)
            batch = Noised(images, t, draw, self.diffusion.q_sample(images, t, draw))
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
        dataset: real images, with "images" uint8 (C, H, W).
        extractor: as for `ImageQualityEvaluation`.
        num_images: samples of each evaluation; their labels go through the data set's classes in
            turn.
        batch_size: images drawn side by side.
        seed: of the samples.

    Raises:
        ValueError: if there are no images, or none are to be drawn.
    """

    def __init__(
        self,
        dataset: Any,
        extractor: Any,
        num_images: int,
        batch_size: int = 250,
        seed: int = 0,
    ):
        from accelerate import PartialState

        if num_images < 1:
            raise ValueError(f"num_images is {num_images}; expected at least 1.")
        self.state = PartialState()
        real, labels = stacked(dataset)
        self.image_shape = tuple(real.shape[1:])
        self.num_images = num_images
        self.num_real = len(real)
        self.batch_size = batch_size
        self.seed = seed
        self.labels = balanced_labels(num_images, None if labels is None else int(labels.max()) + 1)
        self.quality = ImageQualityEvaluation(extractor, seed=seed)
        for numbers in torch.arange(len(real))[
            self.state.process_index :: self.state.num_processes
        ].split(batch_size):
            self.quality.update_reference(to_model_range(real[numbers]), numbers)

    def about(self) -> dict[str, Any]:
        """What a card says of the figures: how many images they are of, and whose features."""
        return {
            "num_generated": self.num_images,
            "num_real": self.num_real,
            "extractor": self.quality.extractor.name,
            "quality_seed": self.seed,
        }

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
        drawn = draw_images(
            model,
            diffusion if variance is None else diffusion.with_variance(variance),
            self.num_images,
            self.image_shape,
            seed=self.seed,
            labels=self.labels,
            batch_size=self.batch_size,
            process_index=self.state.process_index,
            num_processes=self.state.num_processes,
            sampler=name,
            steps=steps,
            progress=False,
        )
        self.quality.reset()
        for numbers, images in drawn:
            self.quality.update(
                to_model_range(to_uint8(images.cpu())), numbers
            )  # what a file would hold
        return self.quality.compute()


def extractor_of(datasets: Mapping[str, Any], data_name: str, seed: int = 0) -> Any | None:
    """A classifier of the data's own classes, trained here, whose features compare small images;
    None without labels.

    Args:
        datasets: "train", and "validation" or None.
        data_name: for the extractor's name.
        seed: of its training.

    Returns:
        An extractor for [`SampleEvaluation`].
    """
    parts = {name: stacked(part) for name, part in datasets.items() if part is not None}
    labelled = {
        name: (to_model_range(images), y) for name, (images, y) in parts.items() if y is not None
    }
    if "train" not in labelled:
        return None
    return train_feature_classifier(
        *labelled["train"], held_out=labelled.get("validation"), data_name=data_name, seed=seed
    )


def stacked(dataset: Any, max_images: int | None = None) -> tuple[Tensor, Tensor | None]:
    """The first images of a data set, uint8 (N, C, H, W), and their labels int64 (N,), or None.

    Args:
        dataset: items with "images", and perhaps "labels".
        max_images: how many at most; None = all.

    Returns:
        Images and labels.

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
