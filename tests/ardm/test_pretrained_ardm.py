"""Loading refuses a network that would be partly random; no special id loses its row."""

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForMaskedLM

from ardm import ARDMForMaskedLM, ARDMModel
from ardm.layers_ardm import ARDMRMSNorm

SPECIAL = {"mask_token_id": 9, "pad_token_id": 8, "eos_token_id": [6, 7], "bos_token_id": 5}


def weights(model):
    return model.state_dict()


# ------------------------------------------------------------------------------------------ loading
@pytest.mark.parametrize(
    "lost", ["lm_head.weight", "model.norm.weight", "model.embed_tokens.weight"]
)
@pytest.mark.parametrize("auto", [False, True])
def test_a_missing_weight_is_an_error(tiny_model, tmp_path, lost, auto):
    model = tiny_model()
    kept = {name: value for name, value in weights(model).items() if name != lost}
    model.save_pretrained(tmp_path, state_dict=kept)
    load = AutoModelForMaskedLM.from_pretrained if auto else ARDMForMaskedLM.from_pretrained
    with pytest.raises(ValueError, match=f"1 weights of ARDMForMaskedLM are missing, {lost};"):
        load(tmp_path)
    loaded, info = load(tmp_path, output_loading_info=True)  # who asks is told
    assert set(info["missing_keys"]) == {lost} and isinstance(loaded, ARDMForMaskedLM)


def test_a_network_without_head_is_no_masked_language_model(tiny_model, tmp_path):
    model = tiny_model()
    model.model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"lm_head.weight; expected all of them"):
        ARDMForMaskedLM.from_pretrained(tmp_path)
    ids = torch.tensor([[0, 3, 1]])
    for base in (ARDMModel.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
        assert torch.equal(base(ids).last_hidden_state, model.model(ids).last_hidden_state)


@pytest.mark.parametrize("tied", [False, True])
def test_weights_of_a_call_load_without_a_folder(tiny_model, tied):
    model = tiny_model(tie_word_embeddings=tied)
    for cls, source in ((ARDMForMaskedLM, model), (ARDMModel, model.model)):
        loaded = cls.from_pretrained(None, config=model.config, state_dict=weights(source))
        assert weights(loaded).keys() == weights(source).keys()
        assert all(torch.equal(value, weights(source)[k]) for k, value in weights(loaded).items())
    masked = ARDMForMaskedLM.from_pretrained(None, config=model.config, state_dict=weights(model))
    assert torch.equal(masked.generate(seed=1), model.generate(seed=1))
    fresh = ARDMForMaskedLM.from_pretrained(None, config=model.config, state_dict={})
    assert not fresh.lm_head.weight.any() or tied
    part = {name: value for name, value in weights(model).items() if "norm" not in name}
    with pytest.raises(ValueError, match=r"9 weights .* are missing, .*, \.\.\.; expected"):
        ARDMForMaskedLM.from_pretrained(None, config=model.config, state_dict=part)


# ----------------------------------------------------------------------------------------- resizing
@pytest.mark.parametrize("special", [{name: SPECIAL[name]} for name in SPECIAL])
def test_the_vocabulary_cannot_be_cut_below_a_special_id(tiny_model, special):
    model = tiny_model(vocab_size=12, **({"mask_token_id": 0} | special))
    ((name, ids),) = special.items()
    last = max(ids) if isinstance(ids, list) else ids
    for network in (model, model.model):
        with pytest.raises(ValueError, match=rf"{name} is .*; expected in 0\.\.{last - 1}"):
            network.resize_token_embeddings(last, mean_resizing=False)
        with pytest.raises(ValueError, match=name):
            network.set_input_embeddings(nn.Embedding(last, 8))
    assert model.config.vocab_size == 12 == model.lm_head.out_features  # nothing was done
    assert model.get_input_embeddings().num_embeddings == 12
    # rounded up, it is large enough
    model.resize_token_embeddings(last - 1, pad_to_multiple_of=last + 1, mean_resizing=False)
    assert model.config.vocab_size == last + 1
    assert model(torch.tensor([[0, 1]])).logits.shape == (1, 2, last + 1)


def test_the_vocabulary_as_it_is_and_larger(tiny_model):
    model = tiny_model(vocab_size=10, **SPECIAL)
    assert model.resize_token_embeddings().num_embeddings == 10
    model.resize_token_embeddings(15, mean_resizing=False)
    assert model.config.vocab_size == 15


# ---------------------------------------------------------------------------------------- precision
def test_autocast_reaches_the_fused_norm(tiny_model, recwarn):
    model = tiny_model(hidden_size=16)
    ids = torch.tensor([[0, 3, 2, 1]])
    exact = model(ids, labels=ids.where(ids == 3, -100).clamp(max=2)).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(ids, labels=torch.tensor([[-100, 0, -100, -100]]))
    out.loss.backward()
    assert not [warning for warning in recwarn if "Mismatch dtype" in str(warning.message)]
    close = (out.logits[..., :3].float() - exact[..., :3]).abs().max()
    assert 0 < close < 0.2
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_norm_gives_the_dtype_that_it_gets(dtype):
    norm = ARDMRMSNorm(8, eps=1e-6)
    nn.init.normal_(norm.weight)
    states = torch.randn(3, 8).to(dtype)
    plain = nn.functional.rms_norm(states, (8,), norm.weight.to(dtype), 1e-6)
    assert norm(states).dtype == dtype and torch.equal(norm(states), plain)
    assert isinstance(norm, nn.RMSNorm)  # which transformers initialises and keeps in place


@pytest.mark.parametrize(
    "settings", [{"hidden_dropout": 0.5}, {"attention_dropout": 0.25, "conv_kernel_size": 5}]
)
def test_settings_of_the_call_replace_the_models_own(model, tmp_path, settings):
    """As everywhere in transformers, and not those of `generate`, which lie beside."""
    model.save_pretrained(tmp_path)
    ids = torch.zeros(1, 4, dtype=torch.long)
    loaded = ARDMForMaskedLM.from_pretrained(tmp_path, **settings)
    assert {name: getattr(loaded.config, name) for name in settings} == settings
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    with pytest.raises(TypeError, match="hiden_dropout"):
        ARDMForMaskedLM.from_pretrained(tmp_path, hiden_dropout=0.5)
