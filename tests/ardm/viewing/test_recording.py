"""A recorder keeps the trace that `generate`'s own history tells."""

import pytest
import torch

from ardm.data.tokenization import build_tokenizer
from ardm.viewing import Recorder, Trace

TOKENIZER = build_tokenizer("char", "abcd \n")
MASK = TOKENIZER.mask_token_id
RESAMPLED = {"tokens_per_step": 3, "resample_steps": 5}
BETWEEN = RESAMPLED | {"resample_order": "remdm_cap", "resample_fraction": 0.5}


@pytest.fixture
def model(tiny_model):
    ids = {"mask_token_id": MASK, "pad_token_id": TOKENIZER.pad_token_id}
    return tiny_model(vocab_size=len(TOKENIZER), **ids, max_position_embeddings=40, hidden_size=16)


@pytest.mark.parametrize("settings", [{}, RESAMPLED, BETWEEN])
@pytest.mark.parametrize("prompt", [None, [[MASK, 1, MASK, MASK, 2]], [[0, 1, MASK, MASK, 3]]])
def test_the_trace_is_that_of_the_history(model, settings, prompt):
    seen = []
    recorder = Recorder(TOKENIZER, lambda trace: seen.append((trace.num_steps, trace.last_frame)))
    ids = None if prompt is None else torch.tensor(prompt)
    output = model.generate(
        ids,
        seed=3,
        streamer=recorder,
        return_dict_in_generate=True,
        output_history=True,
        **settings,
    )
    expected = Trace.of(TOKENIZER, output, path=recorder.path)
    assert recorder.trace.start == expected.start
    assert repr(recorder.trace.steps) == repr(expected.steps)  # NaN is not itself
    assert seen == [(k, expected.frame(k)) for k in range(1, expected.num_steps + 1)]


def test_what_lies_behind_the_end_of_a_text_is_cut_off(model):
    recorder = Recorder(TOKENIZER)
    ends = model.generate(
        torch.tensor([[0, 1]]), max_new_tokens=30, seed=0, streamer=recorder, eos_token_id=2
    )
    length = int((ends[0] != TOKENIZER.pad_token_id).sum())
    assert length < 32 and recorder.trace.last_frame == ends[0, :length].tolist()


def test_nothing_hidden_is_a_trace_without_passes():
    recorder = Recorder(TOKENIZER)
    recorder.put(torch.tensor([[0, 1, 2]]))
    recorder.end()
    assert recorder.trace.num_steps == 0 and recorder.trace.last_frame == [0, 1, 2]


def test_a_tokenizer_without_a_mask_is_refused():
    tokenizer = build_tokenizer("char", "ab")
    tokenizer.mask_token = None
    with pytest.raises(ValueError, match="has no mask token"):
        Recorder(tokenizer)
