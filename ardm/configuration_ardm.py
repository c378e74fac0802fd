"""ARDMConfig: the sizes of the bidirectional transformer and the ids that carry a meaning.

An order-agnostic autoregressive diffusion model (arXiv 2110.02037) is a network f(x) -> (L, V) that
is given a sequence in which some tokens are replaced by the mask id. Nothing else about the
diffusion is a property of the network: orders, plans and temperatures belong to
`ARDMGenerationConfig`.
"""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN


@strict
class ARDMConfig(PreTrainedConfig):
    """Configuration of [`ARDMModel`] and [`ARDMForMaskedLM`].

    The defaults are the size of the paper's text8 network (12 layers, width 768; arXiv 2110.02037,
    appendix D), with a gated MLP of as many parameters as its plain one.

    Args:
        vocab_size: rows of the embedding, special ids included.
        mask_token_id: the absorbing id. It has probability 0 in every output.
        pad_token_id: id of padding, or None. It has probability 0 in every output.
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
        bos_token_id: id that starts a text, or None.
        eos_token_id: id (or ids) that ends a text, or None.

    Raises:
        ValueError: if sizes do not fit together or an id is outside `range(vocab_size)`.
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
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs):
        self._check_sizes()
        self._check_ids()
        super().__post_init__(**kwargs)

    def _check_sizes(self):
        for name in ("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size"):
            size = getattr(self, name)
            _require(size >= 1, "at least 1", **{name: size})
        layers = self.num_hidden_layers
        _require(layers >= 0, "at least 0", num_hidden_layers=layers)
        length = self.max_position_embeddings
        _require(length >= 1, ">= 1", max_position_embeddings=length)
        head_size, rest = divmod(self.hidden_size, self.num_attention_heads)
        _require(
            rest == 0 and head_size % 2 == 0,
            f"an even multiple of num_attention_heads={self.num_attention_heads}"
            " (rotary positions turn pairs)",
            hidden_size=self.hidden_size,
        )
        kernel = self.conv_kernel_size
        odd = kernel > 0 and kernel % 2 == 1
        _require(kernel == 0 or odd, "0 or an odd number", conv_kernel_size=kernel)
        for name in ("rope_theta", "rms_norm_eps"):
            value = getattr(self, name)
            _require(value > 0, "above 0", **{name: value})
        known = self.hidden_act in ACT2FN
        _require(known, "a name in transformers' ACT2FN", hidden_act=self.hidden_act)
        for name in ("attention_dropout", "hidden_dropout"):
            share = getattr(self, name)
            _require(0 <= share < 1, "in [0, 1)", **{name: share})

    def _check_ids(self):
        mask = self.mask_token_id
        if mask is None:
            raise ValueError(
                "mask_token_id is None;"
                " expected the id of the mask token (add one to the vocabulary)."
            )
        last = self.vocab_size - 1
        # Ids are rows of the embedding. A mask id one past the end is the field's best-known bug: a
        # gather that clamps makes the mask share the embedding of the last letter.
        _require(0 <= mask <= last, f"in 0..{last} (vocab_size - 1)", mask_token_id=mask)
        pad = self.pad_token_id
        if pad is not None:
            _require(
                0 <= pad <= last and pad != mask,
                f"None or in 0..{last} and other than mask_token_id={mask}",
                pad_token_id=pad,
            )


def _require(condition: bool, expected: str, **got: object) -> None:
    """Refuses the one field that is named, with its value, unless the condition holds."""
    if not condition:
        ((name, value),) = got.items()
        raise ValueError(f"{name} is {value}; expected {expected}.")
