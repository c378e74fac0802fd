"""Loss and variational bound of held-out images, as a training reports them.

The bound is prior + sum over t of L_t, and the terms fall over four orders of magnitude from t = 0
on. It is estimated from one t of each of some thirty strata that grow geometrically, drawn anew for
every image: on average the estimate is the whole sum.

All images are shared out over the processes, and what is random of an image is keyed by its number.
"""

import math

import torch
from torch import Tensor, nn

from ardm.training import evaluating, measure_rows

from ..denoisers import Denoiser, to_model_range
from ..diffusion import GaussianDiffusion
from ..losses import LOSSES, Noised
from ..noise import RowNoise, stream
from ..objective import Condition
from .image_sets import Images, stacked


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
