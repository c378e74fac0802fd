"""A card of a model that answers: how it is loaded and asked."""

from ardm.hub.answer_cards import answer_card_texts


def test_a_card_says_how_it_is_asked():
    texts = answer_card_texts(
        {"max_new_tokens": 64, "block_length": 32}, base="/secret/of/mine/bert"
    )
    assert 'load_adapters("MODEL_NAME", "path/to/bert")' in texts["loading"]
    assert "weights of `bert`" in texts["loading"] and "secret" not in texts["loading"]
    assert "max_new_tokens=64, block_length=32" in texts["use"]
    assert "of up to\n64 tokens" in texts["use"]
    texts = answer_card_texts({"max_new_tokens": 8, "block_length": 8})
    assert texts["loading"] is None


def test_adapters_of_a_model_of_the_hub_need_no_folder():
    texts = answer_card_texts({"max_new_tokens": 8, "block_length": 8}, base="me/base")
    assert 'load_adapters("MODEL_NAME")' in texts["loading"]
    assert "weights of `me/base`" in texts["loading"] and "folder:" not in texts["loading"]
