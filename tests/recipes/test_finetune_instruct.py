"""finetune_instruct: a new model, an ARDM, a BERT and a Llama, whole or by adapters; resumes."""

import json
import re
import shutil
import string

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from ardm.data import build_tokenizer
from ardm.hub import load_adapters, load_folder

from ..foreign_models import write_bert

SMALL = {
    "max_train_steps": 4,
    "per_device_train_batch_size": 4,
    "logging_steps": 2,
    "checkpointing_steps": 2,
    "eval_steps": 0,
    "max_eval_answers": 6,
    "num_prompts": 3,
}
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
MESSAGES = [
    {"role": "user", "content": "abc"},
    {"role": "assistant", "content": "cba"},
    {"role": "user", "content": "ab"},
    {"role": "assistant", "content": "ba"},
]


@pytest.fixture
def chats(tmp_path):
    path = tmp_path / "chats.jsonl"
    rows = [{"messages": MESSAGES}] * 40 + [{"messages": MESSAGES[:1]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def finetune(recipe, chats):
    def finetune(folder, *more):
        settings = SMALL if "--model_name_or_path" in more else SMALL | SIZES
        flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
        words = [*flags, "--train_file", chats, "--output_dir", folder, *more]
        recipe("finetune_instruct").main([*map(str, words)])

    return finetune


@pytest.fixture
def base(tmp_path):
    """Makes a folder with a model of someone else's: kind -> folder."""

    def base(kind):
        letters = sorted(string.printable)  # many: few would give a new row no chance to differ
        if kind == "bert":
            tokenizer = build_tokenizer("char", letters)
        else:  # no mask token, and no row for one
            vocab = {symbol: number for number, symbol in enumerate(letters)}
            backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
            backend.decoder = decoders.Fuse()
            tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
        tokenizer.add_special_tokens({"eos_token": "[EOS]"})
        size = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, **SIZES}
        torch.manual_seed(0)
        if kind == "bert":
            model = BertForMaskedLM(BertConfig(**size, pad_token_id=tokenizer.pad_token_id))
        else:
            ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
            model = LlamaForCausalLM(LlamaConfig(**size, **ids))
        model.save_pretrained(tmp_path / kind)
        tokenizer.save_pretrained(tmp_path / kind)
        return tmp_path / kind

    return base


def weights(folder, name="model.safetensors"):
    return load_file(folder / name)


def ask(model, tokenizer):
    options = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}
    inputs = tokenizer.apply_chat_template(MESSAGES[:3], **options)
    ids = model.generate(**inputs, max_new_tokens=4, block_length=4, order="confidence", seed=0)
    begin = inputs["input_ids"].shape[1]
    assert torch.equal(ids[:, :begin], inputs["input_ids"])
    return tokenizer.decode(ids[0, begin:], skip_special_tokens=True)


def test_it_leaves_a_model_that_answers(tmp_path, finetune, capsys):
    folder = tmp_path / "run"
    finetune(folder)
    told = capsys.readouterr().out
    assert "the tokenizer has no EOS token: it gets '[EOS]'" in told
    assert "it gets a plain one" in told
    assert "train: 78 answers of 39 chats." in told
    assert "validation: 2 answers of 2 chats; left out: 1 x no answer." in told
    assert re.search(r"\d of 2 held-out prompts.* are answered", told)
    assert re.search(r"[\d.]+ .* bits per answer token: upper bound", told)
    assert "user: abc\nassistant: [[" in told
    model, tokenizer = load_folder(folder)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert tokenizer.chat_template is not None
    assert set(ask(model, tokenizer)) <= set("User: Assistant: abc\n")
    card = (folder / "README.md").read_text()
    assert "apply_chat_template" in card and "max_new_tokens=4" in card
    assert "[[" in card and "chats.jsonl" in card and str(tmp_path) not in card


def test_what_is_too_long_is_told(tmp_path, finetune, capsys):
    finetune(tmp_path / "run", "--answer_length", 3)
    told = capsys.readouterr().out
    assert "train: 39 answers of 39 chats; left out: 39 x answer and EOS of more than 3" in told


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, finetune):
    finetune(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped" / "checkpoints" / "step-00000004")
    (tmp_path / "stopped" / "model.safetensors").unlink()
    finetune(tmp_path / "stopped")
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(ValueError, match=r"objective.answer_length was 4 and is 5"):
        finetune(tmp_path / "whole", "--answer_length", 5)


@pytest.mark.parametrize("kind", ["llama"])
def test_another_process_goes_on_with_an_adopted_model_to_the_same_weights(
    tmp_path, finetune, base, kind
):
    """Its mask has a row that no file holds, and whose beginning nothing is to decide."""
    given = ["--model_name_or_path", base(kind)]
    finetune(tmp_path / "whole", *given)
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped" / "checkpoints" / "step-00000004")
    (tmp_path / "stopped" / "model.safetensors").unlink()
    torch.manual_seed(123)  # as another process may stand
    finetune(tmp_path / "stopped", *given)
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "llama", "ardm"])
def test_models_of_others_are_tuned_whole_and_by_adapters(tmp_path, finetune, base, kind):
    pytest.importorskip("peft")
    if kind == "ardm":
        finetune(tmp_path / "first")
        shutil.rmtree(tmp_path / "first" / "checkpoints")
        start = tmp_path / "first"
    else:
        start = base(kind)
    given = ["--model_name_or_path", start]
    before = weights(start)
    finetune(tmp_path / "full", *given)
    assert len(ask(*load_folder(tmp_path / "full"))) <= 40

    lora = [*given, "--lora_r", 2, "--learning_rate", 0.1]
    finetune(tmp_path / "lora", *lora)
    assert all(torch.equal(value, before[name]) for name, value in weights(start).items())
    assert not (tmp_path / "lora" / "model.safetensors").exists()
    finetune(tmp_path / "merged", *lora, "--merge_adapter")
    adapted, tokenizer = load_adapters(tmp_path / "lora")
    merged, _ = load_folder(tmp_path / "merged")
    ids = torch.randint(0, 8, (2, 20))
    ids[:, ::3] = tokenizer.mask_token_id
    with torch.no_grad():
        logits = [model(input_ids=ids).logits for model in (adapted, merged)]
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)
    assert len(ask(adapted, tokenizer)) <= 40
    card = (tmp_path / "lora" / "README.md").read_text()
    assert "load_adapters" in card and "| lora_r | 2 |" in card

    shutil.copytree(tmp_path / "lora", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped" / "checkpoints" / "step-00000004")
    (tmp_path / "stopped" / "adapter_model.safetensors").unlink()
    finetune(tmp_path / "stopped", *lora)
    one, two = (
        weights(tmp_path / each, "adapter_model.safetensors") for each in ("lora", "stopped")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_adapters_of_a_bert_end_answers_at_its_sep_token_and_load_anywhere(
    tmp_path, finetune, recipe, capsys
):
    pytest.importorskip("peft")
    write_bert(tmp_path / "bert")
    given = ["--model_name_or_path", tmp_path / "bert", "--lora_r", 2]
    finetune(tmp_path / "lora", *given)
    assert "no EOS token: its '[SEP]' ends answers" in capsys.readouterr().out
    card = (tmp_path / "lora" / "README.md").read_text()
    assert "# BertForMaskedLM as an ARDM" in card
    assert 'load_adapters("path/to/this/folder", "path/to/bert")' in card
    model, tokenizer = load_folder(tmp_path / "lora")
    assert model.config.eos_token_id == tokenizer.sep_token_id
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox " * 20)
    words = ["--model_name_or_path", tmp_path / "lora", "--validation_file", text]
    recipe("evaluate_ardm").main([*map(str, words), "--sequence_length", "24"])
    assert "bits per token" in capsys.readouterr().out
