"""What a scorer predicts is told by its class or configuration, or not guessed."""

import pytest
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    PretrainedConfig,
    T5Config,
)

from ardm.metrics.scorer_kinds import scorer_kind


def bert_config(**changes):
    sizes = {
        "num_hidden_layers": 1,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    return BertConfig(vocab_size=10, **sizes, **changes)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (GPT2Config(architectures=["GPT2LMHeadModel"]), "causal"),
        (PretrainedConfig(architectures=["LlamaForCausalLM"]), "causal"),
        (BertConfig(architectures=["BertForMaskedLM"]), "masked"),
        (BertConfig(is_decoder=True), "causal"),
        (type("Mine", (BertForMaskedLM,), {})(bert_config()), "masked"),
    ],
)
def test_the_kind_is_in_the_class_or_configuration(model, kind):
    assert scorer_kind(model) == kind


@pytest.mark.parametrize(
    "model",
    [
        BertConfig(),
        T5Config(architectures=["T5ForConditionalGeneration"]),
        BertModel(bert_config()),
    ],
)
def test_a_scorer_of_no_known_kind_is_refused(model):
    with pytest.raises(ValueError, match="cannot tell"):
        scorer_kind(model)
