"""What transformers asks of every model: how weights begin, are loaded, and are resized."""

import math
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from .code_files import CarriesCode
from .configuration_ardm import ARDMConfig
from .layers_ardm import ARDMAttention, ARDMLayer, ARDMOutputProjection, ARDMShortConv

# what each Auto class loads from a saved model, whichever class saved it
AUTO_MAP = {
    "AutoConfig": "configuration_ardm.ARDMConfig",
    "AutoModel": "modeling_ardm.ARDMModel",
    "AutoModelForMaskedLM": "modeling_ardm.ARDMForMaskedLM",
}


class ARDMPreTrainedModel(CarriesCode, PreTrainedModel):
    """Initialisation, and what transformers needs to know of the architecture."""

    auto_map = AUTO_MAP
    config: ARDMConfig
    config_class = ARDMConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["ARDMLayer"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": ARDMLayer, "attentions": ARDMAttention}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ARDMOutputProjection):
            init.zeros_(module.weight)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, 0.0, module.in_features**-0.5)
        elif isinstance(module, nn.Embedding):
            # a tied head must start with small logits
            tied = self.config.tie_word_embeddings
            init.normal_(module.weight, 0.0, self.config.hidden_size**-0.5 if tied else 1.0)
        elif isinstance(module, nn.RMSNorm):
            init.ones_(module.weight)
        elif isinstance(module, ARDMShortConv):
            init.normal_(module.weight, 0.0, len(module.weight) ** -0.5)

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """Loads a model as all of transformers' do, but none that lacks weights.

        Args:
            *args: as in transformers: the folder or the name on the Hub, ...
            output_loading_info: return the model and what is missing, and raise nothing.
            **kwargs: as in transformers. An empty `state_dict` is a fresh network.

        Returns:
            The model in evaluation mode; a pair of it and a dictionary with `output_loading_info`.

        Raises:
            ValueError: if weights are missing, which transformers would draw at random.
        """
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, info = loaded
        if output_loading_info:
            return model, info
        missing = sorted(info["missing_keys"])
        if missing and kwargs.get("state_dict") != {}:
            raise ValueError(
                f"{len(missing)} weights of {cls.__name__} are missing, {', '.join(missing[:3])}"
                f"{', ...' if missing[3:] else ''}; expected all of them (a network without"
                " lm_head loads as ARDMModel; output_loading_info=True loads what is there)."
            )
        return model

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the embedding by one with a row for each special id, or raises ValueError."""
        if isinstance(value, nn.Embedding):
            self.config.check_vocabulary(value.num_embeddings)
        super().set_input_embeddings(value)

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> nn.Embedding:
        """Makes the vocabulary larger or smaller, as transformers does.

        Args:
            new_num_tokens: rows of the embedding, special ids included; None = as many as now.
            pad_to_multiple_of: rounds that up.
            mean_resizing: whether new rows are drawn around the mean of the old ones.

        Returns:
            The embedding.

        Raises:
            ValueError: if a special id would have no row, or coarse values stand behind the rows.
        """
        multiple = pad_to_multiple_of or 1
        wanted = self.config.vocab_size if new_num_tokens is None else new_num_tokens
        wanted = math.ceil(wanted / multiple) * multiple
        if wanted != self.config.vocab_size and self.config.num_stages > 1:
            raise ValueError(
                f"vocab_size cannot become {wanted}: ids from {self.config.vocab_size} on are"
                " coarse values; expected the number to stay, or a new model of num_stages=1."
            )
        if new_num_tokens is not None:
            self.config.check_vocabulary(wanted)
        return super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
