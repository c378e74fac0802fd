"""ARDMConfig: the sizes of the bidirectional transformer and the ids that carry a meaning.

An order-agnostic autoregressive diffusion model (arXiv 2110.02037) is a network f(x) -> (L, V) that
is given a sequence in which some tokens are replaced by the mask id. Nothing else about the
diffusion is a property of the network: orders, plans and temperatures belong to
`ARDMGenerationConfig`.
"""

import os
import reprlib
import warnings
from typing import Any

from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

from .configuration_checks import (
    OF_TRANSFORMERS,
    as_lists,
    names_of,
    nearest_name,
    require,
    strictly_typed,
    without_kernels,
)
from .vocabulary import stages_of


@strictly_typed
class ARDMConfig(PreTrainedConfig):
    """Configuration of [`ARDMModel`] and [`ARDMForMaskedLM`].

    The defaults are the size of the paper's text8 network (12 layers, width 768; arXiv 2110.02037,
    appendix D), with a gated MLP of as many parameters as its plain one.

    Args:
        vocab_size: rows of the embedding, special ids included.
        mask_token_id: the absorbing id. It has probability 0 in every output.
        pad_token_id: id of padding, or None. It has probability 0 in every output, unless it is
            also the EOS, BOS or UNK id, which texts hold (the usual `pad_token = eos_token`). What
            is padding is told by the attention mask alone.
        hidden_size: width of the residual stream.
        num_hidden_layers: number of transformer layers.
        num_attention_heads: number of attention heads; `hidden_size` is a multiple of it, with an
            even quotient.
        intermediate_size: width of the gated MLP.
        hidden_act: activation of the MLP's gate, a name in transformers' `ACT2FN`.
        max_position_embeddings: the longest sequence that the model accepts.
        conv_kernel_size: taps of the depthwise convolution that each MLP reads its input through:
            an odd number, or 0 for none. It lets a young network see groups of letters before
            attention has learned to.
        rope_theta: base of the rotary position frequencies.
        rms_norm_eps: epsilon of the RMS norms.
        attention_dropout: dropout on attention weights during training.
        hidden_dropout: dropout on the output of each sub-layer during training.
        tie_word_embeddings: whether the head shares the embedding's weights.
        num_stages: S, how many steps a value is revealed in; 1 = from the mask to the token. With
            more, coarse values have node ids from `vocab_size` on (value_trees.py).
        branching_factor: b, the coarse values are the leading base-b digits of S; or
        value_tree: S-1 rows of labels, the coarsest first, one label for each of the K values: each
            row a coarsening of the next.
        num_values: K, how many of the ids that are no mask, pad, EOS, BOS or UNK are values. Those
            behind, as class tokens, are only ever given: their probability is 0. None = all are.
        stage_order: "stagewise" = all positions come through a stage before the next begins, or
            "interleaved" = each on its own; what the network is trained for.
        parametrization: "data" = logits of the vocabulary, summed over what stands below a coarse
            value, or "direct" = logits of the children at each stage, for large vocabularies.
        position_shape: sizes of the axes that positions run along, the last one fastest, as
            [height, width] or [height, width, channels]: rotary positions turn by each of them
            separately. None = one axis. Positions beyond the last go on along the first axis.
        bos_token_id: id that starts a text, or None.
        eos_token_id: id (or ids) that ends a text, or None.
        unk_token_id: id of what the tokenizer does not know, or None.

    Raises:
        ValueError: if sizes do not fit together, an id is outside `range(vocab_size)`, or a setting
            is of another type or has an unknown name.
    """

    model_type = "ardm"

    vocab_size: int = 28
    mask_token_id: int | None = 27  # None only to say so in words: see `_check_ids`
    pad_token_id: int | None = None
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 2048
    hidden_act: str = "silu"
    max_position_embeddings: int = 256
    conv_kernel_size: int = 5
    rope_theta: float | int = 10_000.0
    rms_norm_eps: float = 1e-6
    attention_dropout: float | int = 0.0
    hidden_dropout: float | int = 0.0
    tie_word_embeddings: bool = False
    num_stages: int = 1
    branching_factor: int | None = None
    value_tree: Any = None  # list[list[int]]
    num_values: int | None = None
    stage_order: str = "stagewise"
    parametrization: str = "data"
    position_shape: list[int] | tuple[int, ...] | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    unk_token_id: int | None = None

    def __post_init__(self, **kwargs):
        self._check_names(kwargs)
        self._check_sizes()
        self._check_ids()
        self._check_stages()
        self._check_axes()
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Makes a configuration from a file's content, and settings of the call that replace it.

        Settings of the file that nothing reads are left out, with a warning. A file cannot choose
        an attention kernel that is other code than torch's: only a call can.

        Args:
            config_dict: the file's content.
            **kwargs: settings of the call; `return_unused_kwargs=True` returns those with unknown
                names as well.

        Returns:
            The configuration, or with `return_unused_kwargs` a pair of it and a dictionary.

        Raises:
            ValueError: if settings do not fit, the call has some of unknown names, the file has a
                vocabulary without mask id, or asks for a kernel.
        """
        wants_unused = kwargs.pop("return_unused_kwargs", False)
        own = names_of(cls) - names_of(PreTrainedConfig)
        chosen = {name: kwargs.pop(name) for name in own & set(kwargs)}  # to be checked as well
        content = without_kernels(config_dict, kwargs.get("attn_implementation"))
        if "vocab_size" in content and "mask_token_id" not in content | chosen:
            raise ValueError(
                f"the configuration has vocab_size={content['vocab_size']} and no mask_token_id;"
                " expected the id that hides tokens: any other would be taken for it."
            )
        unknown = sorted(set(content) - cls._known_names())
        if unknown:
            warnings.warn(
                f"config.json has settings that {cls.__name__} does not know, which are left out:"
                f" {', '.join(unknown)}.",
                stacklevel=2,
            )
        content = {name: value for name, value in content.items() if name not in unknown}
        config, unused = super().from_dict(content | chosen, return_unused_kwargs=True, **kwargs)
        if wants_unused:
            return config, unused
        cls._check_names({name: value for name, value in unused.items() if value is not None})
        return config

    @classmethod
    def from_json_file(cls, json_file: str | os.PathLike[str]) -> Any:
        """Reads a configuration, by the rules of [`ARDMConfig.from_dict`]."""
        return cls.from_dict(cls._dict_from_json_file(json_file))

    def check_vocabulary(self, vocab_size: int) -> None:
        """Makes sure that every special id is a row of an embedding of `vocab_size` rows.

        Args:
            vocab_size: number of rows, special ids included.

        Raises:
            ValueError: if one is not.
        """
        for name in ("mask", "pad", "eos", "bos", "unk"):
            name = f"{name}_token_id"
            value = getattr(self, name)
            ids = value if isinstance(value, list) else [value]
            for token in ids:
                fits = token is None or 0 <= token < vocab_size
                require(fits, f"in 0..{vocab_size - 1} (vocab_size - 1)", **{name: value})

    @classmethod
    def _known_names(cls) -> set[str]:
        return names_of(cls) | OF_TRANSFORMERS

    @classmethod
    def _check_names(cls, names: dict[str, Any]) -> None:
        known = cls._known_names()
        unknown = sorted(set(names) - known)
        if unknown:
            near = [match for name in unknown for match in nearest_name(name, names_of(cls), known)]
            hint = f" (did you mean {', '.join(near)}?)" if near else ""
            raise ValueError(
                f"unknown settings {unknown}{hint}; expected fields of {cls.__name__}."
            )

    def _check_sizes(self):
        for name in ("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size"):
            size = getattr(self, name)
            require(size >= 1, "at least 1", **{name: size})
        layers = self.num_hidden_layers
        require(layers >= 0, "at least 0", num_hidden_layers=layers)
        length = self.max_position_embeddings
        require(length >= 1, ">= 1", max_position_embeddings=length)
        head_size, rest = divmod(self.hidden_size, self.num_attention_heads)
        require(
            rest == 0 and head_size % 2 == 0,
            f"an even multiple of num_attention_heads={self.num_attention_heads}"
            " (rotary positions turn pairs)",
            hidden_size=self.hidden_size,
        )
        kernel = self.conv_kernel_size
        odd = kernel > 0 and kernel % 2 == 1
        require(kernel == 0 or odd, "0 or an odd number", conv_kernel_size=kernel)
        for name in ("rope_theta", "rms_norm_eps"):
            value = getattr(self, name)
            require(value > 0, "above 0", **{name: value})
        known = self.hidden_act in ACT2FN
        require(known, "a name in transformers' ACT2FN", hidden_act=self.hidden_act)
        for name in ("attention_dropout", "hidden_dropout"):
            share = getattr(self, name)
            require(0 <= share < 1, "in [0, 1)", **{name: share})

    def _check_ids(self):
        mask = self.mask_token_id
        if mask is None:
            raise ValueError(
                "mask_token_id is None;"
                " expected the id of the mask token (add one to the vocabulary)."
            )
        # Ids are rows of the embedding. A mask id one past the end is the field's best-known bug: a
        # gather that clamps makes the mask share the embedding of the last letter.
        self.check_vocabulary(self.vocab_size)
        for name in ("pad_token_id", "eos_token_id", "bos_token_id", "unk_token_id"):
            value = getattr(self, name)
            other = mask not in value if isinstance(value, list) else value != mask
            require(other, f"another id than mask_token_id={mask}", **{name: value})

    def _check_stages(self):
        if self.value_tree is not None:
            self.value_tree = as_lists(self.value_tree)
            rows = self.value_tree if isinstance(self.value_tree, list) else [None]
            nested = all(isinstance(row, list) for row in rows)
            require(nested, "rows of labels", value_tree=reprlib.repr(self.value_tree))
            if self.num_stages == 1:
                self.num_stages = len(self.value_tree) + 1
        stages = stages_of(self)
        tied = self.tie_word_embeddings and stages.direct
        require(not tied, "False with direct logits", tie_word_embeddings=tied)

    def _check_axes(self):
        if self.position_shape is None:
            return
        shape = self.position_shape = [*self.position_shape]
        pairs = self.hidden_size // self.num_attention_heads // 2
        fits = len(shape) > 0 and min(shape) >= 1
        fits = fits and 1 + sum(size > 1 for size in shape[1:]) <= pairs
        require(
            fits,
            f"sizes of at least 1, of at most {pairs} axes (a head turns {pairs} pairs)",
            position_shape=shape,
        )
