"""What the harness asks of a model beside answers: a chat becomes the text that a template says."""

import pytest
import torch

CHAT = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "c"}]
TEMPLATE = (
    "{% for m in messages %}<{{ m['content'] }}>{% endfor %}"
    "{% if add_generation_prompt %}+{% endif %}"
)


@pytest.fixture
def chatting(harness, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", TEMPLATE)
    return harness()


def test_a_chat_is_written_as_the_template_says(chatting):
    assert chatting.apply_chat_template(CHAT) == "<ab><c>+"
    assert chatting.apply_chat_template(CHAT, add_generation_prompt=False) == "<ab><c"
    assert chatting.chat_template(True) == TEMPLATE
    assert chatting.chat_template(False) is None


def test_a_template_that_is_not_there_is_an_error(harness, tokenizer, monkeypatch):
    with pytest.raises(ValueError, match="chat_template"):
        harness().chat_template(True)
    monkeypatch.setattr(tokenizer, "chat_template", {"default": TEMPLATE})
    assert harness().chat_template("default") == TEMPLATE
    with pytest.raises(ValueError, match="other"):
        harness().chat_template("other")


def test_a_name_of_the_tokenizer_is_a_file_name(harness, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "name_or_path", "user/model")
    assert harness().tokenizer_name == "user__model"


def test_one_process_has_what_it_gives(harness):
    h = harness()
    assert h.gather_object("x") == ["x"] and h.gather_object("x", dst=1) is None
    assert torch.equal(h.all_gather(torch.tensor([2.0])), torch.tensor([2.0]))
    h.barrier()
