"""What a run reports of a classifier: accuracy and cross-entropy of held-out images, by noise.

    x_t of image i in stratum s of S:    t = floor((s + u) T / S),    u and the noise from (seed, i)

All images are shared out over the processes, and what is random of an image is keyed by its number.
"""

import math

import torch
from torch import Tensor, nn

from ardm.training import evaluating, measure_rows

from ..classification import NUM_QUARTILES, TOP, AccuracyByNoise, judged, quartiles
from ..denoisers import Denoiser, to_model_range
from ..forward_process import ForwardProcess
from ..noise import RowNoise, stream
from .image_sets import Images, stacked

_STRATA = 5 * NUM_QUARTILES


class ClassifierEvaluation:
    """How well some images are told apart, for a training loop's `eval_fn` and afterwards.

    Args:
        dataset: the images, with labels.
        process: q, which noises them.
        max_images: how many of the first ones; None = all.
        num_classes: K.
        noised: whether the training noises its images, for what `eval_loss` is of.
        batch_size: images that go through the network side by side.
        seed: of timesteps and noise.

    Raises:
        ValueError: if there are no images, or they have no labels.
    """

    def __init__(
        self,
        dataset: Images,
        process: ForwardProcess,
        max_images: int | None = None,
        *,
        num_classes: int,
        noised: bool = True,
        batch_size: int = 256,
        seed: int = 0,
    ):
        self.images, labels = stacked(dataset, max_images)
        if labels is None:
            raise ValueError("the held-out images have no labels; expected a class of each.")
        self.labels = labels
        self.process = process
        self.num_classes = num_classes
        self.noised = noised
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The figures that a training logs; to be called on all processes.

        Args:
            model: a classifier with parameters.

        Returns:
            "eval_loss", as the training minimises it, its standard error over images, and
            "eval_accuracy" of the same images; the accuracies by quarter of the timesteps,
            "eval_accuracy_q1" (the least noise) to "_q4", and without noise, "_clean"; of more than
            five classes "eval_top5_accuracy" as well.
        """
        figures = self._measured(model)
        trained = figures[:, 1:] if self.noised else figures[:, :1]
        losses, accuracy, top5 = trained.mean(1).unbind(1)
        named = {"eval_loss": losses, "eval_accuracy": accuracy}
        if self.num_classes > TOP:
            named["eval_top5_accuracy"] = top5
        told = {name: float(values.mean()) for name, values in named.items()}
        if len(self) > 1:
            told["eval_standard_error"] = float(losses.std()) / math.sqrt(len(self))
        by_noise = self._by_noise(figures)
        for number, share in enumerate(quartiles(by_noise.accuracy), start=1):
            told[f"eval_accuracy_q{number}"] = share
        return told | {"eval_accuracy_clean": by_noise.clean_accuracy}

    def by_noise(self, model: nn.Module) -> AccuracyByNoise:
        """Accuracy and cross-entropy against the timestep; to be called on all processes.

        Args:
            model: a classifier with parameters.

        Returns:
            The figures, the same on all processes.
        """
        return self._by_noise(self._measured(model))

    def _by_noise(self, figures: Tensor) -> AccuracyByNoise:
        clean, *strata = figures.mean(0).tolist()
        losses, accuracy, top5 = zip(*strata, strict=True)
        return AccuracyByNoise(
            num_timesteps=self.process.num_timesteps,
            num_classes=self.num_classes,
            num_images=len(self),
            accuracy=accuracy,
            cross_entropy=losses,
            top5_accuracy=top5,
            clean_accuracy=clean[1],
            clean_cross_entropy=clean[0],
            clean_top5_accuracy=clean[2],
        )

    @torch.no_grad()
    def _measured(self, model: nn.Module) -> Tensor:
        """float64 (N, 1 + S, 3): of each image without noise, then in each stratum."""
        device = next(model.parameters()).device
        with evaluating(model):
            return measure_rows(
                len(self),
                lambda numbers: self._figures(model, numbers, device),
                device=device,
                shape=(1 + _STRATA, 3),
                batch_size=self.batch_size,
                unit="image",
            )

    def _figures(self, model: Denoiser, numbers: Tensor, device: torch.device) -> Tensor:
        """float64 (B, 1 + S, 3): cross-entropy, whether the class is the first, in the first 5."""
        images = to_model_range(self.images[numbers]).to(device)
        labels = self.labels[numbers].to(device)
        streams = [stream(self.seed, number) for number in numbers.tolist()]
        noise = RowNoise(streams)
        num_timesteps = self.process.num_timesteps
        figures = [_judged(model(images, self.process.network_times(0, images)), labels)]
        for stratum in range(_STRATA):
            places = torch.stack([torch.rand((), generator=each) for each in streams]).double()
            t = ((stratum + places) * num_timesteps / _STRATA).long().to(device)
            x_t = self.process.q_sample(images, t, noise(images))
            figures.append(_judged(model(x_t, self.process.network_times(t, x_t)), labels))
        return torch.stack(figures, dim=1)


def _judged(logits: Tensor, labels: Tensor) -> Tensor:
    losses, ranks = judged(logits, labels)
    return torch.stack((losses.double(), (ranks == 0).double(), (ranks < TOP).double()), dim=1)
