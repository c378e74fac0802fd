"""SamplingModel: a network that knows its diffusion, and draws.

    model = AutoModel.from_pretrained("user/name", trust_remote_code=True)
    images = model.sample(4, labels=3, sampler="ddim", steps=25, guidance_scale=2.0, seed=0)

The diffusion is read from beside the weights (saved_diffusion.py) and saved with them. `sample` is
[`ddpm.sample`], and for a network that enlarges [`ddpm.upsample`], to the bit.
"""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from ardm.training.near_names import did_you_mean, nearest

from ..diffusion import GaussianDiffusion
from ..guidance import classifier_free_guidance, classifier_guidance
from ..samplers import device_of, sample
from ..upsampling import upsample
from .pretrained_unet import UNetPreTrainedModel
from .saved_diffusion import DIFFUSION_FILE, diffusion_file, read_diffusion

# arguments of `from_pretrained` that say which file of a repository is meant
_OF_THE_HUB = (
    "cache_dir",
    "force_download",
    "local_files_only",
    "proxies",
    "revision",
    "subfolder",
    "token",
)
_MEANT = {"num_inference_steps": "steps"}  # what diffusers calls otherwise


class SamplingModel(UNetPreTrainedModel):
    """`sample`, and the diffusion that it needs.

    Attributes:
        diffusion: that the network was trained with; None = nobody has said.
        class_names: what label k is called, at k; None = nobody has said.
    """

    config: Any
    diffusion: GaussianDiffusion | None = None
    class_names: list[str] | None = None

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """Loads a model as all of transformers' do, and its diffusion if that lies beside it.

        Args:
            *args: as in transformers: the folder or the name on the Hub, ...
            output_loading_info: return the model and what differs, and raise nothing.
            **kwargs: as in transformers.

        Returns:
            The model in evaluation mode; a pair of it and a dictionary with `output_loading_info`.

        Raises:
            ValueError: if weights are missing or there are others, or the diffusion's file is
                damaged or of another version.
        """
        hub = {key: kwargs[key] for key in _OF_THE_HUB if kwargs.get(key) is not None}
        loaded = super().from_pretrained(*args, output_loading_info=output_loading_info, **kwargs)
        name = args[0] if args else kwargs.get("pretrained_model_name_or_path")
        saved = None if name is None else read_diffusion(name, **hub)
        if saved is not None:
            model = loaded[0] if output_loading_info else loaded
            model.diffusion, model.class_names = saved
        return loaded

    def files_beside(self) -> dict[str, bytes]:
        """What is saved beside the weights, by file name: the diffusion, too."""
        files = super().files_beside()
        if self.diffusion is not None:
            files[DIFFUSION_FILE] = diffusion_file(self.diffusion, self.class_names)
        return files

    def sample(
        self,
        num_images: int | None = None,
        *,
        labels: Tensor | Sequence[int] | int | None = None,
        low_res: Tensor | None = None,
        guidance_scale: float | Tensor | None = None,
        classifier: nn.Module | None = None,
        classifier_scale: float | Tensor = 1.0,
        diffusion: GaussianDiffusion | None = None,
        **options: Any,
    ) -> Tensor:
        """Draws images.

        Args:
            num_images: B; None = one a label or a small image, or a single one.
            labels: classes, int64 (B,) or numbers, or one for all images.
            low_res: what to enlarge, (B, C, S, S) in [-1, 1], for a network that does.
            guidance_scale: of classifier-free guidance, for a network with a null class: 1 = off,
                above = sharper; None = off.
            classifier: a classifier of noisy images, whose gradient steers towards the labels; a
                network without classes is not told them.
            classifier_scale: of that gradient.
            diffusion: in place of the saved one.
            **options: of [`ddpm.sample`], such as `sampler`, `steps`, `eta`, `seed`, `generator`,
                `clip`, `callback` and `progress`; of [`ddpm.upsample`] `noise_level`, too.

        Returns:
            Images (B, C, H, W) in [-1, 1], on the model's device.

        Raises:
            ValueError: if the diffusion is not known, the network needs labels or small images that
                it is not given, or an option is none, or not as it should be.
        """
        self._check_options(options, low_res)
        diffusion = self.diffusion if diffusion is None else diffusion
        if diffusion is None:
            raise ValueError(
                f"the {type(self).__name__} has no diffusion, as there was no {DIFFUSION_FILE}"
                " beside its weights; expected one there, or diffusion=..., or model.diffusion set."
            )
        self._check_low_res(num_images, low_res)
        self._check_labels_given(labels)
        rows = self._num_rows(num_images, labels, low_res)
        wanted = self._labels_of(labels, rows)
        given = options.get("guidance")
        guides = list(given) if isinstance(given, (list, tuple)) else [given]
        if guidance_scale is not None:
            guides.append(classifier_free_guidance(guidance_scale))
        if classifier is not None:
            guides.append(classifier_guidance(classifier, wanted, classifier_scale))
        told = None if classifier is not None and self.config.num_classes is None else wanted
        options = options | {"labels": told, "guidance": guides}
        if low_res is not None:
            return upsample(self, low_res, diffusion, **options)
        size = self.config.image_size
        return sample(self, (rows, self.config.in_channels, size, size), diffusion, **options)

    def _check_options(self, options: dict[str, Any], low_res: Tensor | None) -> None:
        own = {*signature(self.sample).parameters} - {"options"}
        of_sample = {*signature(sample).parameters} - {"model", "shape", "options"}
        of_upsample = {*signature(upsample).parameters} - {"model", "options"}
        known = own | of_sample | (set() if low_res is None else of_upsample)
        if unknown := [name for name in options if name not in known]:
            near = [_MEANT[each] for each in unknown if each in _MEANT]
            misspelt = [each for each in unknown if each not in of_upsample | {*_MEANT}]
            near += nearest(misspelt, sorted(known))
            raise ValueError(
                f"sample has no option {', '.join(unknown)}{did_you_mean(near)};"
                f" expected some of {', '.join(sorted(known))}."
            )

    def _check_labels_given(self, labels: Any) -> None:
        num_classes = self.config.num_classes
        if labels is None and num_classes is not None and not self.config.null_class:
            raise ValueError(
                f"labels are None; expected classes in 0..{num_classes - 1}, as"
                f" labels={min(3, num_classes - 1)} for all images, or a list of one an image."
            )

    def _check_low_res(self, num_images: int | None, low_res: Tensor | None) -> None:
        size = self.config.low_resolution
        if (size is None) != (low_res is None):
            got = "None" if low_res is None else f"a {type(low_res).__name__}"
            what = "None, as the network enlarges nothing"
            expected = what if size is None else f"small images (B, C, {size}, {size}) to enlarge"
            raise ValueError(f"low_res is {got}; expected {expected}.")
        if low_res is not None and num_images not in (None, len(low_res)):
            raise ValueError(
                f"num_images is {num_images}; expected {len(low_res)}, one a small image, or None."
            )

    @staticmethod
    def _num_rows(num_images: int | None, labels: Any, low_res: Tensor | None) -> int:
        if num_images is not None:
            return num_images
        if low_res is not None:
            return len(low_res)
        several = labels.ndim > 0 if isinstance(labels, Tensor) else isinstance(labels, Sequence)
        return len(labels) if several else 1

    def _labels_of(self, labels: Any, num_images: int) -> Tensor | None:
        if labels is None:
            return None
        try:
            given = torch.as_tensor(labels, device=device_of(self))
        except (TypeError, ValueError) as error:
            raise ValueError(f"labels are {labels!r}; expected int64 or integers.") from error
        return given.expand(num_images) if given.ndim == 0 else given
