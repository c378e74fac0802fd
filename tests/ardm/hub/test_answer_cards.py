"""A card of a model that answers: how it is loaded and asked."""

from ardm.hub.answer_cards import answer_card_texts


def test_a_card_says_how_it_is_asked():
    texts = answer_card_texts({"max_new_tokens": 64, "block_length": 32}, adapters=True)
    assert "load_adapters(" in texts["loading"]
    assert "max_new_tokens=64, block_length=32" in texts["use"]
    assert "of up to\n64 tokens" in texts["use"]
    texts = answer_card_texts({"max_new_tokens": 8, "block_length": 8}, adapters=False)
    assert texts["loading"] is None
