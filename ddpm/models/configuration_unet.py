"""UNetConfig: the sizes of the ADM U-Net, and what its encoder shares with the noisy classifier.

    width of level l = channel_mult[l] * model_channels,    resolution of level l = image_size / 2^l

("Diffusion Models Beat GANs", arXiv 2105.05233, section 3 and tables 11 and 12.) Nothing of the
diffusion process is here: schedules and variances belong to `GaussianDiffusion`.
"""

import math
from typing import Any

from typing_extensions import Self

from .presets import PRESETS
from .setting_names import NamedConfig, strictly_typed


@strictly_typed
class EncoderConfig(NamedConfig):
    """The fields that the U-Net and the classifier share, and their checks."""

    image_size: int = 32
    in_channels: int = 3
    model_channels: int = 128
    num_res_blocks: int = 3
    channel_mult: tuple[int | float, ...] | list[int | float] = (1, 2, 2, 2)
    attention_resolutions: tuple[int, ...] | list[int] = (16, 8)
    num_heads: int = 4
    num_head_channels: int | None = None
    attention_order: str = "new"
    use_scale_shift_norm: bool = True
    resblock_updown: bool = True
    conv_resample: bool = True
    rescale_residual: bool = False
    norm_num_groups: int = 32
    dropout: float | int = 0.0

    def __post_init__(self, **kwargs):
        self.check_names(kwargs)
        self.channel_mult = tuple(self.channel_mult)
        self.attention_resolutions = tuple(self.attention_resolutions)
        self._check_numbers()
        self._check_levels()
        super().__post_init__(**kwargs)

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of channels of each level."""
        return tuple(int(mult * self.model_channels) for mult in self.channel_mult)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Height and width of each level, in pixels."""
        return tuple(self.image_size >> level for level in range(len(self.channel_mult)))

    def heads_of(self, width: int) -> int:
        """Number of attention heads in a layer of `width` channels."""
        return self.num_heads if self.num_head_channels is None else width // self.num_head_channels

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """The sizes of a released network.

        Args:
            name: the released file's name without suffix, such as "64x64_diffusion".
            **changes: fields that shall differ from the preset.

        Returns:
            The configuration.

        Raises:
            ValueError: if no network of this class has that name, or a field has an unknown one.
        """
        presets = PRESETS[cls.model_type]
        if name not in presets:
            raise ValueError(f"the preset is {name!r}; expected one of {', '.join(presets)}.")
        return cls(**(presets[name] | changes))

    def _check_numbers(self):
        for name in ("image_size", "in_channels", "num_res_blocks", "num_heads", "norm_num_groups"):
            number = getattr(self, name)
            require(number >= 1, "at least 1", **{name: number})
        width = self.model_channels
        even = width >= 2 and width % 2 == 0
        require(even, "an even number (cosines and sines of t)", model_channels=width)
        heads = self.num_head_channels
        require(heads is None or heads >= 1, "None or at least 1", num_head_channels=heads)
        require(0 <= self.dropout < 1, "in [0, 1)", dropout=self.dropout)
        # checkpoints of both have the same keys and shapes: only this field tells them apart
        order = self.attention_order
        require(order in ("legacy", "new"), "'legacy' or 'new'", attention_order=repr(order))

    def _check_levels(self):
        multiples = self.channel_mult
        require(len(multiples) >= 1, "one factor a level", channel_mult=multiples)
        widths = [mult * self.model_channels for mult in multiples]
        whole = all(width > 0 and float(width).is_integer() for width in widths)
        expected = f"factors that give whole widths of {self.model_channels}"
        require(whole, expected, channel_mult=multiples)
        factor = 2 ** (len(multiples) - 1)
        expected = f"a multiple of 2^(levels-1) = {factor}"
        require(self.image_size % factor == 0, expected, image_size=self.image_size)
        groups = self.norm_num_groups
        fitting = math.gcd(*self.widths)
        expected = f"a divisor of every width {self.widths}, that is of {fitting}"
        require(fitting % groups == 0, expected, norm_num_groups=groups)
        attended = self.attention_resolutions
        known = set(attended) <= set(self.resolutions)
        expected = f"resolutions in pixels that a level has: {self.resolutions}"
        require(known, expected, attention_resolutions=attended)
        self._check_heads()

    def _check_heads(self):
        name = "num_heads" if self.num_head_channels is None else "num_head_channels"
        part = getattr(self, name)
        levels = zip(self.resolutions, self.widths, strict=True)
        widths = [width for resolution, width in levels if resolution in self.attention_resolutions]
        for width in [*widths, self.widths[-1]]:  # the middle block attends at any resolution
            expected = f"a divisor of the width {width} of a level with attention"
            require(width % part == 0, expected, **{name: part})


@strictly_typed
class UNetConfig(EncoderConfig):
    """Configuration of [`UNet`].

    The defaults are Improved DDPM's network for CIFAR-10 (arXiv 2102.09672), without dropout, with
    ADM's blocks; `UNetConfig.preset("64x64_diffusion")` and so on are the released ADM networks.

    Args:
        image_size: height and width of the images, a multiple of 2^(levels - 1); the network takes
            other ones, too, and this is what `attention_resolutions` are counted by.
        in_channels: number of channels of the images.
        model_channels: base width; the timestep's embedding has four times as many channels.
        num_res_blocks: residual blocks of each level of the encoder; the decoder has one more.
        channel_mult: width of each level, in units of `model_channels`; a factor may be a fraction
            (0.5).
        attention_resolutions: the levels with attention, by their height in pixels.
        num_heads: number of attention heads, if `num_head_channels` is None.
        num_head_channels: channels of each attention head, or None.
        attention_order: how the rows of the query-key-value weights are ordered: "legacy" is (head,
            q/k/v, channel), "new" is (q/k/v, head, channel). Of the released networks only
            "64x64_diffusion" is new.
        use_scale_shift_norm: whether the timestep scales and shifts the second norm (adaptive group
            norm), or is added.
        resblock_updown: whether residual blocks change the resolution, or plain layers do.
        conv_resample: whether those plain layers have a convolution.
        rescale_residual: whether what a residual block gives is divided by sqrt(2) (an ablation of
            arXiv 2105.05233, section 3, after arXiv 2011.13456). No released network has it.
        norm_num_groups: groups of each group norm, a divisor of every width.
        dropout: probability of dropout in residual blocks during training.
        learn_sigma: whether the output has C more channels, for a learned variance.
        num_classes: number of classes, or None for an unconditional network.
        null_class: whether label `num_classes` means "no class" and is what a call without labels
            uses; for classifier-free guidance (arXiv 2207.12598). No released network has it.
        low_resolution: height and width of the small images that the network is given to enlarge,
            or None: it is given none.
        noise_augmentation: whether the network is told how noisy those are (arXiv 2106.15282,
            section 4). No released network has it.
        max_noise_level: the most steps of q that those have gone in training; None = nobody has
            said.

    Raises:
        ValueError: if sizes do not fit together, or a setting has an unknown name.
    """

    model_type = "ddpm_unet"

    learn_sigma: bool = True
    num_classes: int | None = None
    null_class: bool = False
    low_resolution: int | None = None
    noise_augmentation: bool = False
    max_noise_level: int | None = None

    def __post_init__(self, **kwargs):
        classes = self.num_classes
        require(classes is None or classes >= 1, "None or at least 1", num_classes=classes)
        fits = classes is not None or not self.null_class
        require(fits, "False if num_classes is None", null_class=self.null_class)
        self._check_low_resolution()
        super().__post_init__(**kwargs)

    @property
    def out_channels(self) -> int:
        """C, or 2C with a learned variance."""
        return self.in_channels * (2 if self.learn_sigma else 1)

    @property
    def stem_channels(self) -> int:
        """C, or 2C with a low-resolution image beside the noisy one."""
        return self.in_channels * (1 if self.low_resolution is None else 2)

    def _check_low_resolution(self):
        size = self.low_resolution
        expected = f"None or 1..{self.image_size - 1}, below image_size"
        require(size is None or 1 <= size < self.image_size, expected, low_resolution=size)
        told = self.noise_augmentation
        fits = size is not None or not told
        require(fits, "False if low_resolution is None", noise_augmentation=told)
        most = self.max_noise_level
        fits = most is None or (told and most >= 0)
        require(fits, "None, or at least 0 with noise_augmentation", max_noise_level=most)


def require(condition: bool, expected: str, **got: object) -> None:
    """Refuses the one field that is named, with its value, unless the condition holds."""
    if not condition:
        ((name, value),) = got.items()
        raise ValueError(f"{name} is {value}; expected {expected}.")
