"""Callables as logits processors get whole rows, and what they ask for."""

import pytest
import torch
from transformers.generation import LogitsProcessor, LogitsProcessorList
from transformers.generation import logits_process as stock

from ardm import ARDMForMaskedLM

MASK, PAD, VOCAB = 12, 13, 14
LEFT_TO_RIGHT = {"order": "left_to_right", "return_dict_in_generate": True}


@pytest.fixture(scope="module")
def model(tiny_model):
    sizes = {
        "vocab_size": VOCAB,
        "mask_token_id": MASK,
        "pad_token_id": PAD,
        "max_position_embeddings": 12,
    }
    return tiny_model(**sizes, scale=0.5)


# ---------------------------------------------------------------------------------------- callables
IDS = torch.tensor([[0, 1, MASK, MASK, 4, MASK, MASK], [PAD, PAD, MASK, 3, MASK, MASK, PAD]])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"order": "left_to_right", "tokens_per_step": 2},
        {"order": "confidence"},
        {"order": "entropy", "entropy_bound": 0.5, "block_length": 2},
        {"resample_steps": 2, "resample_fraction": 0.5},
        {"order": lambda logits, masked, generator: logits[..., 0]},
        {"guidance_scale": 2.0},
    ],
)
def test_callables_get_whole_rows_positions_and_steps(model, settings):
    calls = []

    def parity(input_ids, scores, positions, cur_step):
        calls.append((input_ids.clone(), positions, cur_step))
        assert scores.shape == (len(input_ids), VOCAB) and positions.shape == (len(input_ids),)
        wrong = (torch.arange(VOCAB) % 2)[None] != (positions % 2)[:, None]
        return scores.masked_fill(wrong, -torch.inf)

    out = model.generate(
        IDS,
        seed=1,
        logits_processor=[parity],
        output_history=True,
        return_dict_in_generate=True,
        **settings,
    )
    assert [step for *_, step in calls] == list(range(out.num_forward_passes))
    generated = out.order >= 0
    assert torch.equal(generated, IDS == MASK)
    assert (out.sequences % 2 == torch.arange(7) % 2)[generated].all()
    for number, (input_ids, positions, _) in enumerate(calls):
        width = len(input_ids) // 2
        rows = input_ids.view(2, width, 7)
        assert (rows == rows[:, :1]).all()  # the whole row for each of its positions
        before = IDS if number == 0 else out.history[number - 1]
        same = rows[:, 0] == before
        assert (same | (rows[:, 0] == MASK)).all()  # what is resampled is hidden again
        assert same.all() or "resample_steps" in settings
        changed = out.history[number] != rows[:, 0]
        asked = torch.zeros_like(changed).scatter(1, positions.view(2, width), True)
        assert (asked | ~changed).all()  # what is filled has been processed

    def plain(input_ids, scores):
        assert (
            (input_ids == PAD).sum(1) == torch.tensor([0, 3]).repeat_interleave(len(input_ids) // 2)
        ).all()
        return scores

    # whole rows, whatever it asks for
    model.generate(IDS, seed=1, logits_processor=[plain], **settings)


def test_callables_ask_for_what_they_want(model):
    seen = []

    class Step(LogitsProcessor):
        def __call__(self, input_ids, scores, cur_step):
            seen.append(cur_step)
            return scores

    def keyword(input_ids, scores, *, positions, **kwargs):
        assert not kwargs
        seen.append(positions.tolist())
        return scores

    settings = LEFT_TO_RIGHT | {"seed": 1}
    plain = model.generate(torch.full((1, 2), MASK), **settings)
    for processors in ([Step(), keyword], LogitsProcessorList([Step(), keyword])):
        seen.clear()
        out = model.generate(torch.full((1, 2), MASK), logits_processor=processors, **settings)
        assert seen == [0, [0], 1, [1]]
        assert torch.equal(out.sequences, plain.sequences) and torch.equal(
            out.log_probs, plain.log_probs
        )
    assert torch.equal(
        model.generate(torch.full((1, 2), MASK), logits_processor=[], **settings).sequences,
        plain.sequences,
    )


@pytest.mark.parametrize(
    "order", ["random", "left_to_right", "confidence", lambda logits, *_: logits[..., 1]]
)
def test_warpers_are_the_settings_of_their_name(model, order):
    """One after the other, at every position of a step."""
    settings = {"order": order, "tokens_per_step": 2, "seed": 1, "return_dict_in_generate": True}
    # the settings change the draw alone, processors the order too
    if order not in (
        "random",
        "left_to_right",
    ):
        settings["tokens_per_step"] = 8
    ids = torch.full((4, 8), MASK)
    processors = [
        stock.TemperatureLogitsWarper(0.5),
        stock.TopKLogitsWarper(3),
        stock.TopPLogitsWarper(0.9),
    ]
    one = model.generate(ids, logits_processor=processors, **settings)
    two = model.generate(ids, temperature=0.5, top_k=3, top_p=0.9, **settings)
    assert torch.equal(one.sequences, two.sequences)
    torch.testing.assert_close(one.log_probs, two.log_probs, rtol=0, atol=1e-6)


def test_a_processor_that_leaves_nothing_is_reported(model):
    with pytest.raises(ValueError, match="only -inf"):
        model.generate(
            IDS, logits_processor=[lambda ids, scores: torch.full_like(scores, -torch.inf)]
        )


def test_bad_words_never_come_whatever_the_order(model):
    for order in ("random", "confidence", "right_to_left"):
        processors = [
            stock.NoBadWordsLogitsProcessor([[1], [5]]),
            stock.SuppressTokensLogitsProcessor([0]),
        ]
        out = model.generate(
            torch.full((20, 8), MASK), order=order, tokens_per_step=3, logits_processor=processors
        )
        assert not set(out.unique().tolist()) & {0, 1, 5, MASK, PAD}


# ---------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("processors", "message"),
    [
        ([3], "logits_processor holds a int; expected callables"),
        ([lambda input_ids, scores, beam_indices: scores], r"asks for \['beam_indices'\]"),
        (
            [lambda input_ids, scores, *, logits, cur_step: scores],
            r"asks for \['logits'\]; expected some of positions",
        ),
        ([stock.TopKLogitsWarper(1), None], "logits_processor holds a NoneType"),
    ],
)
def test_what_is_no_processor_is_refused(model, monkeypatch, processors, message):
    monkeypatch.setattr(
        ARDMForMaskedLM, "forward", lambda *_, **__: pytest.fail("the network was called")
    )
    with pytest.raises(ValueError, match=message):
        model.generate(torch.full((2, 8), MASK), logits_processor=processors)


# ------------------------------------------------------------------------- what a callable returns
@pytest.mark.parametrize(
    "spoil",
    [
        lambda logits: logits[:1],
        lambda logits: logits[:, :-1],
        lambda logits: logits[None],
        lambda logits: logits.long(),
        lambda logits: logits > 0,
        lambda logits: logits.to("meta"),
        lambda logits: logits.tolist(),
        lambda logits: None,
        lambda logits: logits * float("nan"),
        lambda logits: logits + float("inf"),
        lambda logits: torch.full_like(logits, -torch.inf),
        lambda logits: logits.fill_(-torch.inf),
        lambda logits: torch.where(torch.arange(4) == 1, torch.nan, logits),
    ],
)
@pytest.mark.parametrize("order", ["random", "confidence", "drawn_confidence"])
def test_spoilt_logits_are_the_processors_fault_by_name(tiny_model, spoil, order):
    def meddling(input_ids, logits):
        return spoil(logits)

    for settings in ({}, {"tokens_per_step": 2}, {"guidance_scale": 2.0}):
        with pytest.raises(ValueError, match=r"logits.processor .*meddling"):
            tiny_model().generate(
                torch.tensor([[1, 3, 3, 3]] * 2),
                logits_processor=[lambda ids, logits: logits, meddling],
                order=order,
                **settings,
            )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_logits_of_another_precision_are_taken(tiny_model, dtype):
    out = tiny_model().generate(
        torch.full((2, 4), 3), logits_processor=[lambda ids, logits: logits.to(dtype)], seed=1
    )
    assert (out < 3).all()


def test_a_networks_own_nan_is_not_the_processors_fault(tiny_model):
    model = tiny_model()
    model.lm_head.weight.data[0] = torch.nan
    with pytest.raises(ValueError, match="the network returned NaN"):
        model.generate(torch.full((1, 4), 3), logits_processor=[lambda ids, logits: logits * 1])
