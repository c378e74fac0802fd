"""What is watched is what `generate` gives, whoever else is served at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ardm.data.gaps import encode_gaps
from ardm.data.tokenization import build_tokenizer
from ardm.viewing import watch_filling

TOKENIZER = build_tokenizer("char", "abcdef ")
IDS = encode_gaps("ab [[12]] f [[9]]", TOKENIZER)


@pytest.fixture
def model(tiny_model):
    ids = {"mask_token_id": TOKENIZER.mask_token_id, "pad_token_id": TOKENIZER.pad_token_id}
    return tiny_model(vocab_size=len(TOKENIZER), **ids, max_position_embeddings=40, hidden_size=16)


def test_at_last_it_is_what_generate_gives(model):
    settings = {"order": "confidence", "tokens_per_step": 2, "seed": 5}
    *before, last = watch_filling(model, TOKENIZER, IDS, **settings)
    assert before and all("pass " in each.canvas and not each.text for each in before)
    assert last.text == TOKENIZER.decode(model.generate(IDS, **settings)[0])
    assert "11 passes" in last.canvas and "order confidence, tokens_per_step 2" in last.replay


def test_visitors_do_not_disturb_each_other(model):
    def fill(seed):
        *_, last = watch_filling(model, TOKENIZER, IDS, seed=seed, delay=0.001)
        return last

    alone = [fill(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(fill, range(4))] == alone
    assert len({last.text for last in alone}) == 4


def test_who_leaves_ends_the_generation(model):
    watched = watch_filling(model, TOKENIZER, IDS, delay=0.02)
    next(watched)
    (worker,) = (thread for thread in threading.enumerate() if thread.name == "relay")
    watched.close()
    worker.join(10)
    assert not worker.is_alive()


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"order": "sideways"}, "order is"), ({"delay": -1}, "delay"), ({"topk": 3}, "top_k")],
)
def test_a_mistake_is_told(model, settings, named):
    with pytest.raises(ValueError, match=named):
        [*watch_filling(model, TOKENIZER, IDS, **settings)]
