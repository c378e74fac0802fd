"""Options arrive as text or numbers; what is neither is refused by its name."""

import pytest
import torch

from ardm.data.tokenization import build_tokenizer
from ardm.harness.options import choose_device, load, one_of, whole_number


@pytest.mark.parametrize(("value", "number"), [(3, 3), ("3", 3), ("0", 0), (" 12 ", 12)])
def test_a_whole_number_is_read_from_its_digits(value, number):
    assert whole_number("seed", value, 0) == number


@pytest.mark.parametrize("value", [1.5, "1.5", True, "True", "", "many", None, -1, "-1"])
def test_what_is_no_whole_number_is_refused_by_its_name(value):
    with pytest.raises(ValueError, match=r"seed is .*; expected an integer of at least 0 or 'all'"):
        whole_number("seed", value, 0, " or 'all'")


def test_one_of_says_what_is_allowed():
    assert one_of("order", None, (None, "margin")) is None
    with pytest.raises(ValueError, match=r"order is 'up'; expected one of .*'margin'"):
        one_of("order", "up", (None, "margin"))


def test_a_gpu_that_is_not_there_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda:0", "cpu", torch.device("cpu")):
        device, state = choose_device(name)
        assert device == torch.device("cpu") and state.num_processes == 1
    with pytest.raises(ValueError, match="device is 'nowhere'"):
        choose_device("nowhere")


def test_a_folder_or_a_model_with_its_tokenizer_is_taken_and_nothing_else(tiny_model, tmp_path):
    tokenizer = build_tokenizer("char", "abc ")
    model = tiny_model(vocab_size=len(tokenizer), mask_token_id=tokenizer.mask_token_id)
    assert load(model, tokenizer) == (model, tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for name in (tmp_path, str(tmp_path)):
        assert load(name, None)[0].config.vocab_size == len(tokenizer)
    for pretrained, given in ((model, None), (str(tmp_path), tokenizer), (None, None), (3, None)):
        with pytest.raises(ValueError, match="expected a folder or a name on the Hub, or a model"):
            load(pretrained, given)
