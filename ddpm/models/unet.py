"""UNet: the network eps(x_t, t, y) of ADM, and the encoder that the noisy classifier shares.

    e = SiLU(MLP(embed(t)) + class embedding(y));    skips = encoder(x, e)
    h = decoder(middle(skips[-1], e), skips, e);     output = conv(SiLU(GroupNorm(h)))

An upsampler (section 4.4) is given a small image z, which is enlarged bilinearly and laid behind x
as channels, and perhaps its noise level s (arXiv 2106.15282, section 4):

    skips = encoder(cat[x, resize(z)], e);    e = SiLU(... + MLP(embed(s)))

("Diffusion Models Beat GANs", arXiv 2105.05233, section 3; the U-Net of arXiv 2006.11239 with
attention at several resolutions, resampling residual blocks and adaptive group norm.)

Shapes: B batch, C channels of the image, H height, W width, E = 4 * model_channels.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init

from .configuration_classifier import ClassifierConfig
from .configuration_unet import UNetConfig
from .guided_diffusion import GuidedDiffusionMixin
from .layers_unet import (
    GroupNorm,
    MiddleBlock,
    TimestepEmbedding,
    UNetBlock,
    ZeroConv2d,
    ZeroLinear,
)
from .low_resolution import check_low_res, levels_or_none, resized


class UNetPreTrainedModel(GuidedDiffusionMixin, PreTrainedModel):
    """Initialisation, checks of the inputs, and what transformers must know of the architecture."""

    main_input_name = "x"
    supports_gradient_checkpointing = True
    _no_split_modules = ["UNetBlock", "MiddleBlock"]
    _supports_sdpa = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (ZeroConv2d, ZeroLinear)):
            init.zeros_(module.weight)
            init.zeros_(module.bias)  # type: ignore[arg-type]  # all layers here have one
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            bound = module.weight[0].numel() ** -0.5  # PyTorch's own, with which ADM was trained
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)  # type: ignore[arg-type]
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)
        elif isinstance(module, nn.GroupNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """Loads a model as all of transformers' do, if file and network have the same weights.

        Args:
            *args: as in transformers: the folder or the name on the Hub, ...
            output_loading_info: return the model and what differs, and raise nothing.
            **kwargs: as in transformers. An empty `state_dict` is a fresh network.

        Returns:
            The model in evaluation mode; a pair of it and a dictionary with `output_loading_info`.

        Raises:
            ValueError: if weights are missing, which transformers would draw at random, or there
                are some that the network has no place for.
        """
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, info = loaded
        if output_loading_info or kwargs.get("state_dict") == {}:
            return (model, info) if output_loading_info else model
        for kind in ("missing", "unexpected"):
            names = sorted(info[f"{kind}_keys"])
            if names:
                raise ValueError(
                    f"{len(names)} weights of {cls.__name__} are {kind}, {', '.join(names[:3])}"
                    f"{', ...' if names[3:] else ''}; expected just those of the network that the"
                    " configuration describes (output_loading_info=True loads what is there)."
                )
        return model

    def _check_images(self, x: Tensor, t: Tensor, *, any_size: bool) -> Tensor:
        """Raises ValueError if x or t do not fit the network; returns t as (B,)."""
        config = self.config
        for name, given in (("x", x), ("t", t)):
            if not isinstance(given, Tensor):
                raise ValueError(f"{name} is a {type(given).__name__}; expected a tensor.")
        side = config.image_size
        factor = 2 ** (len(config.widths) - 1)
        if any_size:
            sizes = f"H, W), H and W multiples of 2^(levels-1) = {factor}"
            fits = min(x.shape[2:], default=0) > 0 and not any(n % factor for n in x.shape[2:])
        else:
            sizes = f"{side}, {side}), the one size that the network was made for"
            fits = x.shape[2:] == (side, side)
        if x.ndim != 4 or x.shape[1] != config.in_channels or not fits:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; expected (B, {config.in_channels}, {sizes}."
            )
        if not x.is_floating_point():
            raise ValueError(f"x is {x.dtype}; expected floats in [-1, 1].")
        if not len(x):
            raise ValueError(f"there is no image, x has shape {tuple(x.shape)}; expected B >= 1.")
        if t.ndim == 0:
            return t.expand(len(x))
        if t.shape != x.shape[:1]:
            raise ValueError(
                f"t has shape {tuple(t.shape)}; expected ({len(x)},), one timestep an image, or ()."
            )
        return t


class Encoder(nn.Module):
    """The stem and the blocks down to the lowest resolution.

    Args:
        config: sizes of the network.
        num_channels: of its input.

    Attributes:
        skip_widths: channels of every output, that of the stem first.
    """

    def __init__(self, config: UNetConfig | ClassifierConfig, num_channels: int):
        super().__init__()
        width = config.widths[0]
        self.stem = nn.Conv2d(num_channels, width, 3, padding=1)
        self.skip_widths = [width]
        blocks = []
        for level, (out_width, resolution) in enumerate(
            zip(config.widths, config.resolutions, strict=True)
        ):
            for _ in range(config.num_res_blocks):
                blocks.append(
                    UNetBlock(config, width, out_width, resolution in config.attention_resolutions)
                )
                width = out_width
                self.skip_widths.append(width)
            if level < len(config.widths) - 1:
                blocks.append(UNetBlock(config, width, width, resample="down", residual=False))
                self.skip_widths.append(width)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, silu_e: Tensor) -> list[Tensor]:
        """(B, C, H, W) and (B, E) -> the stem's output and every block's, the last goes on."""
        h = self.stem(x)
        # a tenth faster than planes of channels; on a GPU the caller's layout is kept
        if h.device.type == "cpu":
            h = h.contiguous(memory_format=torch.channels_last)
        outputs = [h]
        for block in self.blocks:
            outputs.append(block(outputs[-1], silu_e))
        return outputs


def decoder_blocks(config: UNetConfig, skip_widths: list[int]) -> nn.ModuleList:
    """The blocks up to the full resolution; each is given an output of the encoder, last first."""
    width = config.widths[-1]
    skips = list(skip_widths)
    blocks = []
    for level in reversed(range(len(config.widths))):
        out_width = config.widths[level]
        attention = config.resolutions[level] in config.attention_resolutions
        for index in range(config.num_res_blocks + 1):
            resample = "up" if level > 0 and index == config.num_res_blocks else None
            blocks.append(UNetBlock(config, width + skips.pop(), out_width, attention, resample))
            width = out_width
    assert not skips
    return nn.ModuleList(blocks)


class UNet(UNetPreTrainedModel):
    """The ADM U-Net: a noisy image and its timestep in, the prediction out.

    A fresh one predicts exactly 0. Images may have any height and width that can be halved at every
    level, also other ones than `config.image_size`: attention stays where the configuration has it.

    As with every transformers model, gradient checkpointing trades time for memory. Try
    `to(memory_format=torch.channels_last)` for speed: on a CPU activations are so anyway, and
    weights should follow. `set_attn_implementation("eager")` allows a second derivative, which
    fused attention does not.

    Args:
        config: sizes of the network.
    """

    config: UNetConfig
    config_class = UNetConfig

    def __init__(self, config: UNetConfig):
        super().__init__(config)
        embedding_width = 4 * config.model_channels
        self.time_embedding = TimestepEmbedding(config)
        self.class_embedding = None
        if config.num_classes is not None:
            self.class_embedding = nn.Embedding(
                config.num_classes + config.null_class, embedding_width
            )
        self.noise_level_embedding = None
        if config.noise_augmentation:
            # a network that learned without it begins as it was
            self.noise_level_embedding = TimestepEmbedding(config, last=ZeroLinear)
        self.encoder = Encoder(config, config.stem_channels)
        self.middle = MiddleBlock(config)
        self.decoder = decoder_blocks(config, self.encoder.skip_widths)
        self.norm = GroupNorm(config.norm_num_groups, config.widths[0])
        self.head = ZeroConv2d(config.widths[0], config.out_channels, 3, padding=1)
        self.post_init()

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        labels: Tensor | None = None,
        low_res: Tensor | None = None,
        noise_level: Tensor | None = None,
    ) -> Tensor:
        """Predicts the noise (or what else the diffusion says) of a batch.

        Args:
            x: float (B, C, H, W), noisy images; H and W are multiples of 2^(levels - 1).
            t: int64 or float (B,) or (), the timesteps as the network was trained with.
            labels: int64 (B,), classes; `num_classes` means none if the network has a null class,
                which is also what None means then.
            low_res: float (B, C, S, S), S = `low_resolution`, what to enlarge, in [-1, 1] but for
                added noise; None for a network without.
            noise_level: int64 or float (B,) or (), steps of q that `low_res` has gone; None = 0, as
                it is.

        Returns:
            (B, C, H, W), or (B, 2C, H, W) if the variance is learned: prediction first; of x's
            dtype.

        Raises:
            ValueError: if shapes do not fit the network, or labels, small images or their noise
                level are missing, superfluous or (labels on a CPU) out of range.
        """
        t = self._check_images(x, t, any_size=True)
        check_low_res(low_res, x, self.config.low_resolution)
        e = self.time_embedding(t)
        if self.class_embedding is not None:
            num_rows = self.class_embedding.num_embeddings
            e = e + self.class_embedding(self._labels_or_null(labels, t, num_rows))
        elif labels is not None:
            raise ValueError(
                "got labels; expected None, as the network is unconditional (num_classes is None)."
            )
        noise_level = levels_or_none(noise_level, t, told=self.config.noise_augmentation)
        if self.noise_level_embedding is not None:
            e = e + self.noise_level_embedding(noise_level)
        silu_e = F.silu(e)
        seen = x if low_res is None else torch.cat((x, resized(low_res, x)), dim=1)
        skips = self.encoder(seen.to(self.head.weight.dtype), silu_e)
        h = self.middle(skips[-1], silu_e)
        for block in self.decoder:
            h = block(h, silu_e, skips.pop())
        output = self.head(F.silu(self.norm(h))).to(x.dtype)
        return output.contiguous() if x.is_contiguous() else output

    def _labels_or_null(self, labels: Tensor | None, t: Tensor, num_rows: int) -> Tensor:
        if labels is not None:
            check_labels(labels, t, num_rows)
            return labels
        if not self.config.null_class:
            raise ValueError(f"labels are None; expected int64 (B,), classes in 0..{num_rows - 1}.")
        return torch.full_like(t, num_rows - 1, dtype=torch.int64)


def check_labels(labels: Tensor, t: Tensor, num_rows: int) -> None:
    """Raises ValueError unless labels are int64 (B,) and, on a CPU, in 0..num_rows - 1."""
    if not isinstance(labels, Tensor):
        raise ValueError(f"labels are a {type(labels).__name__}; expected int64 ({len(t)},).")
    if labels.shape != t.shape or labels.dtype != torch.int64:
        raise ValueError(
            f"labels are {labels.dtype} {tuple(labels.shape)}; expected int64 ({len(t)},)."
        )
    if labels.device.type != "cpu" or torch.compiler.is_compiling():
        return  # a GPU would have to wait for the answer
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_rows:
        raise ValueError(
            f"labels reach from {labels.min()} to {labels.max()}; expected 0..{num_rows - 1},"
            f" the {num_rows} classes that the network was made for (num_classes of its config)."
        )
