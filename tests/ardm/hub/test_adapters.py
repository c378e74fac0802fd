"""Adapters: they alone are trained and saved; with them the model gives the same bits again."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

from ardm import nelbo
from ardm.data import build_tokenizer
from ardm.data.chats import set_chat_template, set_eos_token
from ardm.hub import CardFigures, add_adapters, load_adapters, load_folder, save_folder
from ardm.new_tokens import use_eos
from ardm.objective import RandomRatioObjective
from ardm.training import Batch, TrainingConfig, train

peft = pytest.importorskip("peft")

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
}
KINDS = ["ardm", "bert", "llama", "tied llama"]


def base_model(kind, tokenizer, tiny_model):
    """A network of the kind, with a row for each token of the tokenizer that was there before."""
    torch.manual_seed(0)
    if kind == "ardm":
        ids = {
            f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("mask", "pad")
        }
        return tiny_model(vocab_size=len(tokenizer), **ids, **SIZES)
    if kind == "bert":
        return BertForMaskedLM(
            BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **SIZES)
        )
    tied = {"tie_word_embeddings": kind.startswith("tied"), "eos_token_id": None}
    config = LlamaConfig(vocab_size=len(tokenizer), **SIZES, **tied)
    config.bos_token_id = None
    return LlamaForCausalLM(config)


@pytest.fixture
def saved(request, tmp_path, tiny_model):
    """A folder with a model and a tokenizer that has an EOS; of a Llama without a mask token."""
    tokenizer = build_tokenizer("char", "User: Assistant: abc\n")
    set_eos_token(tokenizer)
    set_chat_template(tokenizer)
    model = base_model(request.param, tokenizer, tiny_model)
    if "llama" in request.param:
        tokenizer.mask_token = None
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def fit(model, tokenizer, folder, steps=3):
    ids = torch.randint(0, 8, (16, 12), generator=torch.Generator().manual_seed(0))
    prompt = torch.zeros_like(ids)
    prompt[:, :6] = 1
    rows = [
        {"input_ids": row, "prompt_mask": given} for row, given in zip(ids, prompt, strict=True)
    ]
    config = TrainingConfig(
        str(folder),
        max_train_steps=steps,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        mixed_precision="no",
        checkpointing_steps=2,
    )
    train(model, RandomRatioObjective(tokenizer.mask_token_id), rows, config=config)
    return ids


def tokens_of(model):
    causal = getattr(model.config, "is_causal", None) is False
    return [model.config.mask_token_id] if causal else []


@pytest.mark.parametrize("saved", KINDS, indirect=True)
def test_adapters_alone_are_trained_and_come_back(saved, tmp_path):
    model, tokenizer = load_folder(saved)
    use_eos(model, tokenizer, new_rows=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plain = model(input_ids=torch.zeros(1, 4, dtype=torch.long)).logits
    adapted = add_adapters(model, 2, trained_tokens=tokens_of(model)).eval()
    untouched = adapted(input_ids=torch.zeros(1, 4, dtype=torch.long)).logits
    assert torch.equal(untouched, plain)
    ids = fit(adapted, tokenizer, tmp_path / "run")
    parts = {
        name.replace("base_model.model.", ""): value for name, value in adapted.state_dict().items()
    }
    for name, value in before.items():
        stem, _, leaf = name.rpartition(".")
        places = (name, f"{stem}.base_layer.{leaf}", f"{stem}.token_adapter.base_layer.{leaf}")
        found = [parts[each] for each in places if each in parts]
        assert any(torch.equal(each, value) for each in found), name

    save_folder(tmp_path / "adapters", adapted, tokenizer, CardFigures())
    held = load_file(tmp_path / "adapters" / "adapter_model.safetensors")
    assert all("lora_" in name or "trainable_tokens" in name for name in held)
    new_rows = [name for name in held if "trainable_tokens" in name]
    assert len(new_rows) == len(tokens_of(model))
    ids[:, ::3] = tokenizer.mask_token_id
    again, its_tokenizer = load_adapters(tmp_path / "adapters")
    assert its_tokenizer.get_vocab() == tokenizer.get_vocab()
    logits = adapted(input_ids=ids).logits
    assert not torch.equal(logits, model_of(saved)(input_ids=ids).logits)
    assert torch.equal(again(input_ids=ids).logits, logits)
    settings = {"max_new_tokens": 4, "seed": 0}
    filled = again.generate(input_ids=ids[:2], **settings)
    assert torch.equal(filled, adapted.generate(input_ids=ids[:2], **settings))
    assert not (filled == tokenizer.mask_token_id).any()

    bound = {"num_samples": 4}

    text = ids.masked_fill(ids == tokenizer.mask_token_id, 0)

    def nats(model):
        return nelbo(model, text, generator=torch.Generator().manual_seed(0), **bound).nats

    before = nats(adapted)
    assert torch.equal(nats(again), before)
    torch.testing.assert_close(nats(again.merge_and_unload()), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("saved", ["bert", "llama"], indirect=True)
def test_a_folder_of_adapters_loads_as_any_model_and_may_have_adapters_itself(saved, tmp_path):
    ids = torch.randint(0, 8, (2, 12), generator=torch.Generator().manual_seed(1))
    start = saved
    for number in range(2):
        model, tokenizer = load_folder(start)
        use_eos(model, tokenizer, new_rows=False)
        torch.manual_seed(number)
        adapted = add_adapters(model, 2, trained_tokens=tokens_of(model)).eval()
        with torch.no_grad():
            for name, value in adapted.named_parameters():
                if "lora_B" in name:
                    value.normal_()
        start = tmp_path / f"adapters-{number}"
        save_folder(start, adapted, tokenizer, CardFigures())
        whole, its_tokenizer = load_folder(start)
        expected = adapted(input_ids=ids).logits
        torch.testing.assert_close(whole(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-4)
        assert its_tokenizer.get_vocab() == tokenizer.get_vocab()
    (start / "generation_config.json").write_text('{"per_step_losses": [2.0, 1.0]}')  # plan_steps
    assert load_folder(start)[0].generation_config.per_step_losses == [2.0, 1.0]


def model_of(folder):
    model, tokenizer = load_folder(folder)
    use_eos(model, tokenizer)
    return model


@pytest.mark.parametrize("saved", ["ardm", "tied llama"], indirect=True)
def test_a_stopped_run_goes_on_to_the_same_adapters(saved, tmp_path):
    def fitted(folder, *steps):
        torch.manual_seed(0)
        for each in steps:
            model, tokenizer = load_folder(saved)
            torch.manual_seed(0)
            model = add_adapters(model, 2, dropout=0.1, trained_tokens=tokens_of(model))
            fit(model, tokenizer, tmp_path / folder, each)
        return dict(model.state_dict())

    whole = fitted("whole", 5)
    checkpoint = tmp_path / "whole" / "checkpoints" / "step-00000004" / "model.safetensors"
    held = load_file(checkpoint)
    assert held and all("lora_" in name or "trainable_tokens" in name for name in held)
    (tmp_path / "stopped" / "checkpoints").mkdir(parents=True)
    (tmp_path / "whole" / "checkpoints" / "step-00000004").rename(
        tmp_path / "stopped" / "checkpoints" / "step-00000004"
    )
    stopped = fitted("stopped", 5)
    assert all(torch.equal(value, stopped[name]) for name, value in whole.items())


@pytest.mark.parametrize("saved", ["ardm"], indirect=True)
def test_other_frozen_weights_are_another_run(saved, tmp_path):
    for change in (0.0, 1.0):
        model, tokenizer = load_folder(saved)
        with torch.no_grad():
            model.model.norm.weight.add_(change)
        torch.manual_seed(0)
        adapted = add_adapters(model, 2)
        if not change:
            fit(adapted, tokenizer, tmp_path / "run")
            continue
        with pytest.raises(ValueError, match=r"belongs to another run: frozen_weights was"):
            fit(adapted, tokenizer, tmp_path / "run")


@pytest.mark.parametrize("saved", ["ardm"], indirect=True)
def test_what_cannot_be_adapted_is_refused(saved, tmp_path):
    model, tokenizer = load_folder(saved)
    with pytest.raises(ValueError, match=r"lora_target_modules has 'query'; expected some of \["):
        add_adapters(model, 2, target_modules=["query"])
    with pytest.raises(ValueError, match="lora_r is 0"):
        add_adapters(model, 0)
    with pytest.raises(ValueError, match="got lora_alpha=0 and lora_dropout=0"):
        add_adapters(model, 1, alpha=0)
    tokenizer.add_special_tokens({"eos_token": "[END]"})
    with pytest.raises(ValueError, match=r"EOS '\[END\]' is new to the model"):
        use_eos(model, tokenizer, new_rows=False)
    use_eos(model, tokenizer)
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    with pytest.raises(ValueError, match=r"no model can be loaded from .*adapter_config\.json"):
        load_adapters(saved)


@pytest.mark.parametrize("saved", ["bert"], indirect=True)
def test_what_stood_around_texts_may_end_answers(saved):
    """An EOS that was given by convention, as RoBERTa's, is learned from now on."""
    model, tokenizer = load_folder(saved)
    model.config.given_token_ids = [0, tokenizer.eos_token_id]
    use_eos(model, tokenizer)
    assert model.config.given_token_ids == [0]
    logits = model(input_ids=torch.ones(1, 4, dtype=torch.long)).logits
    assert logits[..., tokenizer.eos_token_id].isfinite().all() and logits[..., 0].isinf().all()


def test_of_the_losses_of_adapters_prompts_are_no_part(tiny_model):
    torch.manual_seed(0)
    model = tiny_model()
    adapted = add_adapters(model, 2)
    ids = torch.randint(0, 3, (4, 6))
    prompt = torch.tensor([[1, 1, 1, 0, 0, 0]]).expand(4, -1)
    batch = Batch({"input_ids": ids, "prompt_mask": prompt}, torch.arange(4), 4, 0.5)
    objective = RandomRatioObjective(3)
    assert torch.equal(objective(adapted, batch)["loss"], objective(model, batch)["loss"])
