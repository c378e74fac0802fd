"""What a model itself tells its card: class, base, and code that runs on it."""

import pytest
import torch
from huggingface_hub import ModelCard

from ardm.hub import CardFigures, load_folder, save_folder
from ardm.hub.use_cards import model_facts, name_on_the_hub

from ...foreign_models import write_bert, write_llama


@pytest.mark.parametrize(
    ("write", "own_class"), [(write_bert, "BertForMaskedLM"), (write_llama, "LlamaForCausalLM")]
)
def test_the_card_of_an_adopted_model_says_what_it_is_and_runs(write, own_class, tmp_path):
    write(tmp_path / "own")
    model, tokenizer = load_folder(tmp_path / "own")
    save_folder(tmp_path / "run", model, tokenizer, CardFigures())
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"# {own_class} as an ARDM" in card and f"`{own_class}.from_pretrained(" in card
    assert "add_special_tokens=False" not in card and ModelCard(card).data.base_model is None
    with_package, _, use = (block.split("```")[0] for block in card.split("```python\n")[1:])
    found = {}
    torch.manual_seed(0)
    exec(with_package.replace("path/to/this/folder", str(tmp_path / "run")) + use, found)
    assert "nelbo(ids)" not in card  # behind an EOS there may be padding, which no text holds
    around = 2 if own_class.startswith("Bert") else 1
    assert found["ids"].shape == (1, 20 + around)
    assert found["ids"][0, 0] == (tokenizer.cls_token_id if around == 2 else tokenizer.bos_token_id)


def test_the_card_of_an_ardm_that_writes_an_eos_runs(tiny_model):
    assert "skip_special_tokens=True" in model_facts(tiny_model(eos_token_id=1))["use"]
    facts = model_facts(tiny_model())
    assert "skip_special_tokens" not in facts["use"] and facts["adopted_class"] is None


def test_a_base_model_of_the_hub_is_in_the_front_matter(tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = tiny_model()
    model.name_or_path = "me/base"
    assert model_facts(model)["base_model"] == "me/base"
    (tmp_path / "me").mkdir()
    assert model_facts(model)["base_model"] is None  # would lie here
    assert name_on_the_hub(None) is None and name_on_the_hub("/me/base") is None
