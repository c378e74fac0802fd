"""Tokenizers of chats: all that the template and the answers write is known to them."""

from ardm.data import build_tokenizer
from ardm.data.chat_tokenizers import character_tokenizer, prepare_tokenizer


def test_the_tokenizer_of_a_new_model_writes_the_template():
    rows = [{"prompt": "é?", "completion": "xyz"}]
    tokenizer = character_tokenizer(rows)
    notes = prepare_tokenizer(tokenizer, None)
    assert len(notes) == 2 and "'[EOS]'" in notes[0] and "plain" in notes[1]
    chat = [{"role": "user", "content": "é?"}, {"role": "assistant", "content": "xyz"}]
    ids = tokenizer.apply_chat_template(chat, return_dict=True)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert prepare_tokenizer(tokenizer, None) == []


def test_without_a_new_token_answers_end_at_the_sep_token():
    tokenizer = build_tokenizer("char", ["abc"])
    assert "it gets" in prepare_tokenizer(build_tokenizer("char", ["abc"]), "raw")[0]
    tokenizer.add_special_tokens({"sep_token": "[SEP]"})
    size = len(tokenizer)
    notes = prepare_tokenizer(tokenizer, "raw", new_token=False)
    assert "its '[SEP]' ends answers" in notes[0]
    assert tokenizer.eos_token_id == tokenizer.sep_token_id and len(tokenizer) == size
