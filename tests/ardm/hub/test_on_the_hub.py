"""transformers' own ways to the Hub, and back by ours; what is refused is said in one line."""

import pytest
import torch
from transformers import AutoModelForMaskedLM, Trainer, TrainingArguments

from ardm import RandomRatioCollator
from ardm.data import build_tokenizer
from ardm.hub import add_adapters, load_folder
from ardm.hub.use_cards import model_facts

NAME = "me/model"
WEIGHTS = {"config.json", "generation_config.json", "model.safetensors"}


@pytest.fixture
def tokenizer():
    return build_tokenizer("char", ["abcdefgh"])


@pytest.fixture
def model(tiny_model, tokenizer):
    ids = {"mask_token_id": tokenizer.mask_token_id, "pad_token_id": tokenizer.pad_token_id}
    return tiny_model(vocab_size=len(tokenizer), **ids)


@pytest.fixture
def logits():
    ids = torch.tensor([[0, 1, 2, 3]])

    @torch.no_grad()
    def logits(model):
        return model.eval()(ids).logits

    return logits


def without_code(names):
    """The code that makes a repository stand alone may lie beside the weights."""
    return {name for name in names if not name.endswith(".py")}


def test_push_to_hub_of_transformers_gives_what_loads(hub, model, tokenizer, logits):
    model.push_to_hub(NAME, private=True)
    tokenizer.push_to_hub(NAME)
    names = without_code(hub.files(NAME))
    assert {*WEIGHTS, "tokenizer.json"} <= names and hub.repositories[NAME].private
    loaded, loaded_tokenizer = load_folder(NAME)
    assert torch.equal(logits(loaded), logits(model))
    assert loaded_tokenizer.get_vocab() == tokenizer.get_vocab()
    again = AutoModelForMaskedLM.from_pretrained(NAME)
    assert torch.equal(logits(again), logits(model))
    assert torch.equal(again.generate(seed=0), model.generate(seed=0))


def test_trainer_pushes_what_it_trained(hub, model, tokenizer, logits, tmp_path):
    rows = [{"input_ids": [index % 8, 1, 2, 3]} for index in range(8)]
    asked = {"push_to_hub": True, "hub_model_id": NAME, "hub_strategy": "end"}
    quiet = {"report_to": "none", "disable_tqdm": True, "use_cpu": True}
    arguments = TrainingArguments(tmp_path / "run", max_steps=2, **asked, **quiet)
    collator = RandomRatioCollator(tokenizer.mask_token_id, tokenizer.pad_token_id)
    given = {"train_dataset": rows, "data_collator": collator, "processing_class": tokenizer}
    trainer = Trainer(model, arguments, **given)
    trainer.train()
    trainer.push_to_hub()
    assert {*WEIGHTS, "tokenizer.json", "README.md"} <= without_code(hub.files(NAME))
    assert torch.equal(logits(load_folder(NAME)[0]), logits(model))


@pytest.fixture
def refused():
    """What `load_folder` says."""

    def refused(name=NAME):
        with pytest.raises(ValueError, match=f"^no model can be loaded from '{name}': ") as error:
            load_folder(name)
        assert "\n" not in str(error.value) and len(str(error.value)) < 400
        return str(error.value)

    return refused


def test_what_cannot_be_loaded_says_why(hub, refused, model, tokenizer, monkeypatch):
    assert "there is no such repository (404)" in refused()
    model.push_to_hub(NAME)
    tokenizer.push_to_hub(NAME)
    hub.repositories[NAME].gated = True
    assert "gated (403): ask for access on its page" in refused()
    hub.repositories[NAME].gated = False
    with monkeypatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_wrong")
        assert "does not accept the token (401)" in refused()
    hub.fail("/resolve/", None, method="HEAD", times=99)
    assert "no connection to http://127.0.0.1" in refused()
    hub.failures.clear()
    load_folder(NAME)


@pytest.mark.parametrize("status", [None, 500])
def test_a_download_that_breaks_off_says_so_and_goes_on(
    hub, refused, model, tokenizer, logits, status
):
    model.push_to_hub(NAME)
    tokenizer.push_to_hub(NAME)
    hub.fail(r"/model\.safetensors$", status, method="GET", times=99)
    said = refused()
    assert "no connection to http://" in said if status is None else "the Hub failed (500)" in said
    hub.failures.clear()
    assert torch.equal(logits(load_folder(NAME)[0]), logits(model))


def test_a_model_that_was_loaded_once_needs_no_hub(hub, model, tokenizer, logits, monkeypatch):
    model.push_to_hub(NAME)
    tokenizer.push_to_hub(NAME)
    load_folder(NAME)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert torch.equal(logits(load_folder(NAME)[0]), logits(model))
    assert hub.requests == []


def test_a_repository_of_adapters_alone_is_loaded_with_its_base(hub, model, tokenizer, monkeypatch):
    pytest.importorskip("peft")
    ids = torch.tensor([[0, 1, 2, 3]])
    model.push_to_hub("me/base")
    tokenizer.push_to_hub("me/base")
    adapted = add_adapters(load_folder("me/base")[0], 2).eval()
    assert model_facts(adapted)["base_model"] == "me/base"
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_B" in name:
                value.normal_()
    adapted.push_to_hub(NAME)
    tokenizer.push_to_hub(NAME)
    assert "config.json" not in hub.files(NAME)
    for offline in (False, True):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
        loaded, _ = load_folder(NAME)
        torch.testing.assert_close(loaded(ids).logits, adapted(input_ids=ids).logits)
