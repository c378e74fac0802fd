"""Tokenizers of chats: all that the template and the answers write is known to them."""

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
