"""What is shown in the end is the text, and each streamer gets what it asks for, step by step."""

import itertools
import re
import threading

import pytest
import torch
from transformers import TextIteratorStreamer, TextStreamer
from transformers.generation import (
    NoRepeatNGramLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TextDiffusionStreamer,
)

from ardm import ARDMForMaskedLM
from ardm.data.tokenization import build_tokenizer

# ids 0 "\n", 1 " ", 2 ".", 3 a, 4 b, 5 c, then [UNK], [MASK], [PAD]
TOKENIZER = build_tokenizer("char", "abc \n.")
MASK, PAD, EOS = TOKENIZER.mask_token_id, TOKENIZER.pad_token_id, 2
CLEAR, DRAFT = "\x1b8\x1b[J", re.compile(r"\x1b7\x1b\[33m(.*?)\x1b\[0m", re.DOTALL)


@pytest.fixture(scope="module")
def model(tiny_model):
    sizes = {
        "vocab_size": len(TOKENIZER),
        "mask_token_id": MASK,
        "pad_token_id": PAD,
        "max_position_embeddings": 16,
    }
    return tiny_model(**sizes)


def ids_of(text, masks=8, left=0):
    return torch.tensor([[PAD] * left + TOKENIZER(text)["input_ids"] + [MASK] * masks])


def right_half_first(logits, masked, generator):
    return torch.arange(masked.shape[1]).roll(masked.shape[1] // 2).expand_as(masked)


CALLS = {
    "left to right": {"order": "left_to_right"},
    "random": {},
    "right to left": {"order": "right_to_left"},
    "three at a time": {"tokens_per_step": 3},
    "by the logits": {"order": "confidence", "threshold": 0.5},
    "a user's order": {"order": right_half_first},
    "blocks": {"block_length": 3, "order": "entropy"},
    "guided": {"guidance_scale": 2.0},
    "EOS, left to right": {"order": "left_to_right", "eos_token_id": EOS},
    "EOS, three at a time": {"order": "left_to_right", "tokens_per_step": 3, "eos_token_id": EOS},
    "EOS, random": {"eos_token_id": EOS},
    "resampled after": {"resample_steps": 3, "resample_fraction": 0.5},
    "resampled after, left to right": {
        "order": "left_to_right",
        "resample_steps": 2,
        "resample_fraction": 0.5,
    },
    "resampled between": {
        "order": "left_to_right",
        "resample_steps": 3,
        "resample_order": "remdm_cap",
        "resample_fraction": 0.5,
        "eos_token_id": EOS,
    },
}
INPUTS = {
    "a prompt": ids_of("ab c"),
    "no prompt": ids_of("", 10),
    "padding on the left": ids_of("a.b", 6, left=3),
    "padding on the right": torch.cat((ids_of("ab", 6), torch.full((1, 3), PAD)), 1),
    "a gap": torch.cat((ids_of("a", 3), ids_of("bc", 4)), 1),
}
calls = pytest.mark.parametrize("call", CALLS)


def text_of(out, start=0):
    """The row without padding, decoded from its token `start` on."""
    row = out[0]
    return TOKENIZER.decode(row[row != PAD][start:])


def seeds(call):
    return range(2 if "EOS" in call or "resampled" in call else 1)


# ------------------------------------------------------------------------------- text as it is done
class Recorder:
    """Has `put` and `end`, like any streamer."""

    def __init__(self):
        self.values, self.ended = [], False

    def put(self, value):
        assert not self.ended and value.device.type == "cpu"
        self.values.append(value)

    def end(self):
        assert not self.ended
        self.ended = True


@calls
def test_what_is_put_is_the_text(model, call):
    for ids, seed in itertools.product(INPUTS.values(), seeds(call)):
        recorder = Recorder()
        out = model.generate(ids, seed=seed, streamer=recorder, **CALLS[call])
        assert recorder.ended
        prompt, *rest = recorder.values
        real = ids[0][ids[0] != PAD]
        assert torch.equal(prompt, real[None, : int((real == MASK).int().argmax())])
        assert all(value.ndim == 1 and len(value) for value in rest)
        put = torch.cat([prompt[0], *rest])
        # no padding, nothing behind an end, no token of a past draft
        assert torch.equal(put, out[0][out[0] != PAD])
        # watching changes nothing
        assert torch.equal(out, model.generate(ids, seed=seed, **CALLS[call]))


@calls
@pytest.mark.parametrize("name", ["a prompt", "padding on the left"])
def test_a_text_streamer_prints_the_text(model, capsys, call, name):
    prompt = sum(token not in (PAD, MASK) for token in INPUTS[name][0].tolist())
    for seed, skip_prompt in itertools.product(seeds(call), (False, True)):
        streamer = TextStreamer(TOKENIZER, skip_prompt=skip_prompt)
        out = model.generate(INPUTS[name], seed=seed, streamer=streamer, **CALLS[call])
        assert capsys.readouterr().out == text_of(out, prompt if skip_prompt else 0) + "\n"


def test_a_text_is_put_as_soon_as_it_is_complete(model):
    recorder = Recorder()
    model.generate(ids_of("ab", 6), order="left_to_right", tokens_per_step=2, streamer=recorder)
    assert [value.numel() for value in recorder.values] == [2, 2, 2, 2]
    recorder = Recorder()
    model.generate(ids_of("", 4), order=torch.tensor([0, 2, 1, 3]), streamer=recorder)
    assert [value.numel() for value in recorder.values] == [0, 1, 2, 1]
    recorder = Recorder()
    model.generate(ids_of("a", 4), order="right_to_left", streamer=recorder)
    assert [value.numel() for value in recorder.values] == [1, 4]


def test_a_text_can_be_read_from_another_thread(model):
    streamer = TextIteratorStreamer(TOKENIZER, skip_prompt=True, timeout=60)
    outs = []
    thread = threading.Thread(
        target=lambda: outs.append(
            model.generate(INPUTS["a prompt"], seed=1, streamer=streamer, order="left_to_right")
        )
    )
    thread.start()
    text = "".join(streamer)
    thread.join()
    assert text == text_of(outs[0], 4)


@pytest.mark.filterwarnings("ignore:nothing to generate")
def test_a_text_without_masks_is_its_prompt(model, capsys):
    model.generate(ids_of("ab.", 0), streamer=TextStreamer(TOKENIZER))
    assert capsys.readouterr().out == "ab.\n"
    recorder = Recorder()
    model.generate(ids_of("ab.", 0), streamer=recorder)
    assert [value.tolist() for value in recorder.values] == [[[3, 4, 2]]] and recorder.ended


# ------------------------------------------------------------------------------------------- drafts
class Drafts(Recorder):
    """A streamer of drafts that takes all there is to take."""

    def __init__(self, takes_logits=False, takes_path=False):
        super().__init__()
        self._takes_logits, self._takes_path = takes_logits, takes_path
        self.drafts = []

    def put_draft(self, **draft):
        assert not self.ended
        self.drafts.append(draft)


@calls
def test_each_step_gives_a_draft_and_the_end_gives_the_text(model, call):
    for ids in INPUTS.values():
        real = ids[0] != PAD
        prompt = int((ids[0][real] == MASK).int().argmax())
        streamer = Drafts()
        out = model.generate(
            ids,
            seed=1,
            streamer=streamer,
            output_history=True,
            return_dict_in_generate=True,
            **CALLS[call],
        )
        drafts = [draft["value"] for draft in streamer.drafts]
        assert all(set(draft) == {"value"} for draft in streamer.drafts)
        assert [draft.tolist() for draft in drafts] == [
            canvas[:, real][:, prompt:].tolist() for canvas in out.history
        ]
        first, *rest = streamer.values
        assert first.tolist() == [ids[0, real][:prompt].tolist()] and streamer.ended
        final = out.sequences[0][out.sequences[0] != PAD]
        assert torch.equal(torch.cat(rest) if rest else final[:0], final[prompt:])


@calls
def test_a_diffusion_streamer_prints_drafts_and_at_last_the_text(model, capsys, call):
    letters = [SuppressTokensLogitsProcessor([TOKENIZER.unk_token_id])]
    for seed, skip_prompt in itertools.product(seeds(call), (False, True)):
        streamer = TextDiffusionStreamer(TOKENIZER, skip_prompt=skip_prompt)
        out = model.generate(
            INPUTS["a prompt"],
            seed=seed,
            streamer=streamer,
            logits_processor=letters,
            output_history=True,
            return_dict_in_generate=True,
            **CALLS[call],
        )
        shown = capsys.readouterr().out
        assert DRAFT.findall(shown) == [TOKENIZER.decode(canvas[0, 4:]) for canvas in out.history]
        pieces = shown.split(CLEAR)
        assert len(pieces) == len(out.history) + 1
        before = pieces[0][: pieces[0].index("\x1b7")]
        assert before + pieces[-1] == text_of(out.sequences, 4 if skip_prompt else 0) + "\n"
        # a draft replaces the one before
        assert all(not DRAFT.sub("", piece) for piece in pieces[1:-1])


def test_drafts_without_special_tokens(model, capsys):
    streamer = TextDiffusionStreamer(TOKENIZER, skip_special_tokens=True)
    ids = INPUTS["padding on the left"]
    out = model.generate(
        ids, seed=1, streamer=streamer, output_history=True, return_dict_in_generate=True
    )
    shown = capsys.readouterr().out
    drafts = DRAFT.findall(shown)
    assert drafts == [
        TOKENIZER.decode(canvas[0, 6:], skip_special_tokens=True) for canvas in out.history
    ]
    assert all("[" not in draft for draft in drafts) and len(drafts) == 6
    assert [len(draft) for draft in drafts] == sorted(len(draft) for draft in drafts)


# ------------------------------------------------------------------------------ logits and the path
@pytest.mark.parametrize(
    "call", [name for name in CALLS if name not in ("guided", "resampled between")]
)
@pytest.mark.parametrize("name", ["padding on the left", "a gap"])
def test_a_streamer_may_take_the_logits_of_all_positions(model, call, name):
    """Of the positions that the draft shows, as the network gave them before the step."""
    ids, streamer = INPUTS[name], Drafts(takes_logits=True)
    settings = {"seed": 1, "output_history": True, "return_dict_in_generate": True, **CALLS[call]}
    out = model.generate(ids, streamer=streamer, **settings)
    plain = model.generate(ids, **settings)
    assert torch.equal(out.sequences, plain.sequences) and torch.equal(out.order, plain.order)
    torch.testing.assert_close(out.log_probs, plain.log_probs, rtol=0, atol=1e-5)
    assert len(streamer.drafts) == out.num_forward_passes == plain.num_forward_passes
    real = ids[0] != PAD
    for draft, before in zip(streamer.drafts, [ids, *out.history], strict=False):
        assert set(draft) == {"value", "logits"}
        shown = draft["value"].shape[1]  # all but the prompt and padding
        assert draft["logits"].shape == (1, shown, len(TOKENIZER))
        if "resampled" not in call:
            expected = model(before, real.long()[None]).logits[:, real][:, -shown:].detach()
            torch.testing.assert_close(draft["logits"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: NoRepeatNGramLogitsProcessor(1), lambda: SuppressTokensLogitsProcessor([3])]
)
def test_taking_the_logits_does_not_change_what_processors_do(model, make):
    ids = torch.cat((ids_of("abc", 2), ids_of("a", 2)), 1)
    settings = {"order": "left_to_right", "seed": 1, "return_dict_in_generate": True}
    plain = model.generate(ids, logits_processor=[make()], **settings)
    out = model.generate(
        ids, logits_processor=[make()], streamer=Drafts(takes_logits=True), **settings
    )
    assert torch.equal(out.sequences, plain.sequences)
    torch.testing.assert_close(out.log_probs, plain.log_probs, rtol=0, atol=1e-5)


@calls
def test_a_streamer_may_take_the_path(model, call):
    streamer = Drafts(takes_path=True)
    settings = {"seed": 1, "output_history": True, "return_dict_in_generate": True, **CALLS[call]}
    out = model.generate(INPUTS["padding on the left"], streamer=streamer, **settings)
    for draft in streamer.drafts:
        assert set(draft) == {"value", "order", "log_probs"}
        assert draft["order"].shape == draft["log_probs"].shape == draft["value"].shape == (1, 6)
    for number, draft in enumerate(streamer.drafts):  # a row alone takes one step a pass
        written = draft["order"] == number
        assert written.any() and (draft["order"] <= number).all()
        assert (draft["value"] != MASK)[written].all() and (draft["log_probs"] < 0)[written].all()
    kept = out.order[:, 6:] >= 0
    assert torch.equal(streamer.drafts[-1]["order"][kept], out.order[:, 6:][kept])
    assert torch.equal(streamer.drafts[-1]["log_probs"][kept], out.log_probs[:, 6:][kept])
    both = Drafts(takes_logits=True, takes_path=True)
    model.generate(INPUTS["a prompt"], streamer=both, **settings)
    assert all(set(draft) == {"value", "logits", "order", "log_probs"} for draft in both.drafts)


def test_only_a_streamer_of_drafts_is_given_logits(model, monkeypatch):
    asked, forward = [], ARDMForMaskedLM.forward

    def spy(self, *args, logits_positions=None, **kwargs):
        asked.append(logits_positions is None)
        return forward(self, *args, logits_positions=logits_positions, **kwargs)

    monkeypatch.setattr(ARDMForMaskedLM, "forward", spy)
    recorder = Recorder()
    recorder._takes_logits = True
    for streamer, whole in (
        (recorder, False),
        (Drafts(), False),
        (Drafts(takes_logits=True), True),
    ):
        asked.clear()
        model.generate(ids_of("", 3), streamer=streamer)
        assert asked == [whole] * 3


# ---------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"input_ids": torch.full((2, 4), MASK)},
            "a streamer shows one row, got 2; expected a batch of 1",
        ),
        ({"num_return_sequences": 3}, "a streamer shows one row, got 3"),
        ({"input_ids": torch.full((0, 4), MASK)}, "got 0"),
        (
            {"streamer": print},
            "streamer is a builtin_function_or_method; expected an object with `put` and `end`",
        ),
        ({"streamer": "stdout"}, "streamer is a str"),
    ],
)
def test_what_cannot_be_streamed_is_refused_before_any_work(model, monkeypatch, settings, message):
    monkeypatch.setattr(
        ARDMForMaskedLM, "forward", lambda *_, **__: pytest.fail("the network was called")
    )
    recorder = Recorder()
    with pytest.raises(ValueError, match=message):
        model.generate(**({"input_ids": ids_of("ab"), "streamer": recorder} | settings))
    assert not recorder.values
