"""Architectures: which class a configuration is of, and which models are none of ours."""

import pytest
from transformers import AutoConfig, BertForMaskedLM, BertLMHeadModel, LlamaForCausalLM, T5Config

from ardm.architectures import class_of

from .families import CAUSAL, MASKED, plain_model


def config_of(family, **settings):
    return AutoConfig.for_model(family, **(MASKED.get(family) or CAUSAL[family]), **settings)


def test_a_family_of_both_kinds_is_what_it_was_saved_as():
    assert class_of(config_of("bert"), "x", "") is BertForMaskedLM
    assert class_of(config_of("bert", architectures=["BertForMaskedLM"]), "x", "") is (
        BertForMaskedLM
    )
    assert class_of(config_of("bert", architectures=["BertLMHeadModel"]), "x", "") is (
        BertLMHeadModel
    )
    assert class_of(config_of("llama", architectures=["LlamaModel"]), "x", "") is LlamaForCausalLM


@pytest.mark.parametrize("family", [*MASKED, *CAUSAL])
def test_every_family_has_a_class(family):
    found = class_of(config_of(family), "x", "")
    assert type(plain_model(family)) is found


def test_what_is_none_is_refused_by_name():
    with pytest.raises(ValueError, match=r"t5.* is an encoder-decoder"):
        class_of(T5Config(), "x", "")
    with pytest.raises(ValueError, match=r"x is of type 'vit'.*expected a masked language model"):
        vision = AutoConfig.for_model("vit")
        vision.vocab_size = 3
        class_of(vision, "x", "")
    with pytest.raises(ValueError, match=r"clip.*no vocab_size"):
        class_of(AutoConfig.for_model("clip_vision_model"), "x", "")


def test_code_of_its_own_is_only_run_when_trusted():
    config = AutoConfig.for_model("vit")
    config.vocab_size = 3
    config.auto_map = {"AutoModel": "modeling_x.X"}
    with pytest.raises(ValueError, match=r"user/x comes with code of its own.*trust_remote_code"):
        class_of(config, "user/x", "")
    with pytest.raises(ValueError, match="of type 'vit'"):  # ours is no class of its own
        class_of(config, "user/x", "modeling_x.X", trust_remote_code=True)
