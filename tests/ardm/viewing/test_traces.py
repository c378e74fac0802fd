"""Traces: the frames are the history, and every token is there at its step."""

import math
import types

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from ardm.data.tokenization import build_tokenizer
from ardm.viewing.traces import Pieces, Trace, legible

TOKENIZER = build_tokenizer("char", "abcd \n")
MASK, PAD = TOKENIZER.mask_token_id, TOKENIZER.pad_token_id


class Path:
    """A streamer that keeps what it is given."""

    _takes_path = True

    def __init__(self):
        self.prompt = None
        self.drafts = []

    def put(self, value):
        self.prompt = value.flatten() if self.prompt is None else self.prompt

    def put_draft(self, value, *, order, log_probs):
        self.drafts.append((order[0].clone(), log_probs[0].clone()))

    def end(self):
        pass

    def whole(self):
        given = torch.full_like(self.prompt, -1)
        return [
            (torch.cat((given, order)), torch.cat((given * 0.0, log_probs)))
            for order, log_probs in self.drafts
        ]


def model_of(tiny_model):
    ids = {"vocab_size": len(TOKENIZER), "mask_token_id": MASK, "pad_token_id": PAD}
    model = tiny_model(**ids, max_position_embeddings=24, hidden_size=16)
    # else a text may hold its own mask tokens
    model.lm_head.weight.data[[MASK, PAD, TOKENIZER.unk_token_id]] = 0
    return model


CALLS = {
    "one by one": {},
    "several at a time": {"tokens_per_step": 4, "order": "confidence"},
    "blocks": {"block_length": 6, "tokens_per_step": 2, "order": "right_to_left"},
    "resampled after": {
        "tokens_per_step": 4,
        "resample_steps": 5,
        "resample_order": "least_confident",
    },
    "resampled between": {
        "tokens_per_step": 3,
        "resample_steps": 6,
        "resample_order": "remdm_cap",
        "resample_fraction": 0.3,
    },
    "a prompt with gaps": {
        "input_ids": torch.tensor([[0, MASK, 2, 3, MASK, MASK, 1]]),
        "max_new_tokens": 3,
    },
    "nothing to do": {"input_ids": torch.tensor([[0, 1, 2]])},
}


def generate(model, seed=3, **call):
    path = Path()
    output = model.generate(
        seed=seed, return_dict_in_generate=True, output_history=True, streamer=path, **call
    )
    return output, path


@pytest.mark.filterwarnings("ignore:nothing to generate")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_frames_are_the_history(tiny_model, call):
    output, path = generate(model_of(tiny_model), **call)
    given = [
        None if step >= 0 else token
        for step, token in zip(output.order[0], output.sequences[0], strict=True)
    ]
    history = [
        [None if token == MASK else token for token in canvas[0].tolist()]
        for canvas in output.history
    ]
    for trace in (Trace.of(TOKENIZER, output), Trace.of(TOKENIZER, output, path=path.whole())):
        assert trace.num_steps == output.num_forward_passes
        assert [trace.frame(passes) for passes in range(trace.num_steps + 1)] == [given, *history]
        assert trace.last_frame == output.sequences[0].tolist()
        assert trace.text == TOKENIZER.decode(output.sequences[0])


@pytest.mark.filterwarnings("ignore:nothing to generate")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_generated_position_appears_at_its_step(tiny_model, call):
    output, path = generate(model_of(tiny_model), **call)
    trace = Trace.of(TOKENIZER, output, path=path.whole())
    for position, written in enumerate(trace.writings()):
        order = int(output.order[0, position])
        assert [event.position for event in written] == [position] * len(written)
        assert (written[-1].step if written else -1) == order
        if written:
            assert written[-1].token == output.sequences[0, position]
            assert written[-1].log_prob == output.log_probs[0, position]
            assert all(math.isfinite(event.log_prob) for event in written)
    assert all(event.step == step for step, events in enumerate(trace.steps) for event in events)


@pytest.mark.parametrize("name", ["resampled after", "resampled between", "several at a time"])
def test_resampled_positions_are_those_whose_step_changed(tiny_model, name):
    output, path = generate(model_of(tiny_model), **CALLS[name])
    trace = Trace.of(TOKENIZER, output, path=path.whole())
    orders = torch.stack([order for order, _ in path.whole()])
    times = [len(set(column[column >= 0].tolist())) for column in orders.T]
    assert [len(written) for written in trace.writings()] == times
    assert (max(times) > 1) == name.startswith("resampled")


def test_without_a_path_only_replaced_tokens_have_no_probability(tiny_model):
    output, path = generate(model_of(tiny_model), **CALLS["resampled after"])
    trace, known = Trace.of(TOKENIZER, output), Trace.of(TOKENIZER, output, path=path.whole())
    replaced = 0
    for written, exact in zip(trace.writings(), known.writings(), strict=True):
        assert written[-1] == exact[-1]
        assert all(math.isnan(event.log_prob) for event in written[:-1])
        replaced += len(written) - 1
    assert replaced > 0


def by_hand(history, order, log_probs=None):
    order = torch.tensor([order])
    log_probs = (
        torch.zeros(order.shape, dtype=torch.float64)
        if log_probs is None
        else torch.tensor([log_probs])
    )
    history = tuple(torch.tensor([canvas]) for canvas in history)
    return types.SimpleNamespace(
        sequences=history[-1], order=order, log_probs=log_probs, history=history
    )


def test_a_token_sent_back_is_an_event_of_its_own_and_the_same_token_may_come_again():
    M = MASK
    output = by_hand([[0, 1, M, M], [0, M, 2, M], [0, 1, 2, 3], [0, 3, 2, 3]], [-1, 3, 1, 3])
    trace = Trace.of(TOKENIZER, output)
    found = [[(event.position, event.token) for event in events] for events in trace.steps]
    assert found == [[(1, 1)], [(1, None), (2, 2)], [(1, 1), (3, 3)], [(1, 3), (3, 3)]]
    assert [len(written) for written in trace.writings()] == [0, 3, 1, 2]


def test_padding_is_no_part_of_a_row(tiny_model):
    ids = torch.tensor([[PAD, PAD, 0, MASK, MASK], [0, 1, MASK, 2, MASK]])
    output = model_of(tiny_model).generate(
        ids, seed=0, return_dict_in_generate=True, output_history=True
    )
    for row, padding in enumerate((2, 0)):
        trace = Trace.of(TOKENIZER, output, row)
        assert trace.last_frame == output.sequences[row, padding:].tolist()
        assert trace.frame(1) == [
            None if i == MASK else i for i in output.history[0][row, padding:].tolist()
        ]


def test_what_lies_behind_the_end_is_no_part_of_a_row(tiny_model):
    model = model_of(tiny_model)
    ending = {"input_ids": torch.tensor([[0]]), "max_new_tokens": 20, "eos_token_id": 1}
    for seed in range(20):
        output, path = generate(model, **ending, seed=seed)
        kept = int((output.sequences[0] != PAD).sum())
        if kept < 21:
            break
    assert kept < 21
    trace = Trace.of(TOKENIZER, output, path=path.whole())
    assert trace.last_frame == output.sequences[0, :kept].tolist() and trace.last_frame[-1] == 1


# -------------------------------------------------------------------------------------- token texts
def test_no_character_of_a_legible_text_steers_a_terminal_or_is_invisible():
    text = "".join(map(chr, range(0x250))) + "\u0301\u200b\u202e\u2028\ufeff\ue000"
    shown = legible(text)
    assert shown.isprintable() and len(shown) >= len(text)
    assert legible("a b\n\t\f\x1b[31m\u0301") == "a b⏎⇥↡␛[31m◌\u0301"
    assert legible("żółw 中 ✓") == "żółw 中 ✓"


def test_pieces_are_what_the_tokenizer_writes_in_the_middle_of_a_text():
    bpe = build_tokenizer("bpe", ["the quick brown fox. " * 50], 300)
    ids = bpe(text := "the quick brown fox. ").input_ids
    assert "".join(Pieces(bpe)[token] for token in ids) == text and len(ids) < len(text)
    for tokenizer in (bpe, build_tokenizer("byte", "")):  # the parts of a character
        assert [Pieces(tokenizer)[token] for token in tokenizer("é中").input_ids] == [
            f"<{byte:02X}>" for byte in "é中".encode()
        ]
    backend = Tokenizer(
        models.WordPiece({"[UNK]": 0, "go": 1, "##ing": 2, "[MASK]": 3}, unk_token="[UNK]")
    )
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(["[MASK]"])
    pieces = Pieces(PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[MASK]"))
    assert (pieces[1], pieces[2]) == (" go", "ing")
    assert Pieces(TOKENIZER)[TOKENIZER.unk_token_id] == "�"


# --------------------------------------------------------------------------------------- bad inputs
def test_bad_input_is_an_error_that_names_it(tiny_model):
    model = model_of(tiny_model)
    plain = model.generate(seed=0, return_dict_in_generate=True)
    output, path = generate(model)
    with pytest.raises(ValueError, match="no history"):
        Trace.of(TOKENIZER, plain)
    with pytest.raises(ValueError, match="Tensor has no history"):
        Trace.of(TOKENIZER, output.sequences)
    for row in (1, -1):
        with pytest.raises(ValueError, match=f"row is {row}"):
            Trace.of(TOKENIZER, output, row)
    with pytest.raises(
        ValueError, match="path has 23 passes over 24 positions; expected 24 over 24"
    ):
        Trace.of(TOKENIZER, output, path=path.whole()[1:])
    with pytest.raises(ValueError, match="over 23 positions"):
        Trace.of(
            TOKENIZER,
            output,
            path=[(order[1:], log_probs[1:]) for order, log_probs in path.whole()],
        )
    trace = Trace.of(TOKENIZER, output)
    for passes in (-1, 25):
        with pytest.raises(ValueError, match=f"passes is {passes}"):
            trace.frame(passes)
    with pytest.raises(ValueError, match="3 positions; expected 24"):
        trace.add(*[torch.zeros(3, dtype=torch.long)] * 3)
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        Trace(TOKENIZER, torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="no mask token"):
        maskless = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.backend_tokenizer)
        Trace(maskless, output.sequences[0], output.order[0])
