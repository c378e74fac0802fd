"""ClassifierConfig: the sizes of the noisy classifier, its classes and the noise that it knows.

It is the encoder half of the U-Net (configuration_unet.py) with a pool at its end ("Diffusion
Models Beat GANs", arXiv 2105.05233, section 4.1). The betas are of the process q whose noise it was
trained on: guidance compares them with those of the sampled diffusion.
"""

from typing import Any

from .configuration_unet import EncoderConfig, require
from .setting_names import strictly_typed

SPATIAL_WIDTH = 2048  # of the hidden layer of the pools "spatial" and "spatial_v2"


@strictly_typed
class ClassifierConfig(EncoderConfig):
    """Configuration of [`NoisyClassifier`], the encoder half of a U-Net.

    `ClassifierConfig.preset("64x64_classifier")` and so on are ADM's.

    Args:
        image_size: see [`UNetConfig`], as for the other fields.
        in_channels: number of channels of the images.
        model_channels: base width.
        num_res_blocks: residual blocks of each level.
        channel_mult: width of each level, in units of `model_channels`.
        attention_resolutions: the levels with attention, by their height in pixels.
        num_heads: number of attention heads, if `num_head_channels` is None.
        num_head_channels: channels of each attention head, or None.
        attention_order: "legacy" or "new"; the pooling layer's own attention has always the new
            order.
        use_scale_shift_norm: whether the timestep scales and shifts the second norm, or is added.
        resblock_updown: whether residual blocks change the resolution, or plain layers do.
        conv_resample: whether those plain layers have a convolution.
        rescale_residual: whether what a residual block gives is divided by sqrt(2).
        norm_num_groups: groups of each group norm, a divisor of every width.
        dropout: probability of dropout in residual blocks during training.
        num_classes: number of classes K. transformers' `num_labels` is the same number, and its
            `id2label` holds the classes' names.
        betas: of the process q whose noise it was trained on, (T,); None = unknown, as of released
            files, or none.
        rescale_timesteps: whether it is told t * 1000 / T in place of t.
        pool: how feature maps become logits: "attention", which all released classifiers have,
            "adaptive", "spatial" or "spatial_v2"; see pools.py.

    Raises:
        ValueError: if sizes or names do not fit together, or a setting has an unknown name.
    """

    model_type = "ddpm_classifier"

    num_classes: int = 1000
    pool: str = "attention"
    betas: tuple[float, ...] | list[float] | None = None
    rescale_timesteps: bool = False

    @property
    def num_labels(self) -> int:
        """K; a new number makes new names, as transformers has it."""
        return self.num_classes

    @num_labels.setter
    def num_labels(self, num_labels: int) -> None:
        if num_labels != self.num_classes:
            self.num_classes, self.id2label = num_labels, None
            self._check_label_names()

    @property
    def label_names(self) -> list[str]:
        """What label k is called, at k; transformers' "LABEL_k" where nobody has said."""
        names: Any = self.id2label
        return [names[label] for label in range(self.num_classes)]

    @property
    def class_names(self) -> list[str] | None:
        """The same; None where nobody has said."""
        unsaid = [f"LABEL_{label}" for label in range(self.num_classes)]
        return None if self.label_names == unsaid else self.label_names

    def __post_init__(self, **kwargs):
        labels = kwargs.pop("num_labels", self.num_classes)
        if self.num_classes == ClassifierConfig.num_classes:  # as nobody has said otherwise
            self.num_classes = labels
        classes = self.num_classes
        require(classes >= 1, "at least 1", num_classes=classes)
        require(labels == classes, f"num_classes, which is {classes}", num_labels=labels)
        self._check_label_names()
        if self.betas is not None:
            self.betas = tuple(self.betas)
            valid = len(self.betas) > 0 and all(0 < beta <= 1 for beta in self.betas)
            require(valid, "numbers in (0, 1]", betas=self.betas)
        pools = ("attention", "adaptive", "spatial", "spatial_v2")
        require(self.pool in pools, f"one of {', '.join(map(repr, pools))}", pool=repr(self.pool))
        groups = self.norm_num_groups
        fits = self.pool != "spatial_v2" or (groups >= 1 and SPATIAL_WIDTH % groups == 0)
        require(fits, f"a divisor of {SPATIAL_WIDTH} with that pool", norm_num_groups=groups)
        super().__post_init__(**kwargs)

    def _check_label_names(self):
        classes = self.num_classes
        names = {int(label): name for label, name in (self.id2label or {}).items()}
        if all(name == f"LABEL_{label}" for label, name in names.items()):  # transformers' own
            names = {label: f"LABEL_{label}" for label in range(classes)}
        known = sorted(names)
        require(known == [*range(classes)], f"a name of each of 0..{classes - 1}", id2label=known)
        self.id2label = names
        self.label2id = {name: label for label, name in names.items()}
