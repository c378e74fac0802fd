"""A row's result is that of a full generation, cut behind its first end."""

import itertools

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from transformers.generation import (
    EosTokenCriteria,
    MaxLengthCriteria,
    MaxTimeCriteria,
    StoppingCriteria,
    StoppingCriteriaList,
    StopStringCriteria,
    SuppressTokensLogitsProcessor,
)

from ardm import ARDMForMaskedLM
from ardm.data.tokenization import build_tokenizer

from .rows import MASK, PAD, full, masks

EOS = 2


@pytest.fixture(scope="module")
def model(tiny_model):
    """In float64: batches of fewer rows, as ended ones leave, round float32 in another way."""
    ids = {"mask_token_id": MASK, "pad_token_id": PAD}
    return tiny_model(vocab_size=5, max_position_embeddings=12, **ids).double()


# ------------------------------------------------------------------------------------ the reference
def end_of(text, given, ends_text):
    """How many tokens of a row (without padding) stay, by asking for each beginning in turn."""
    begin = max((place + 1 for place, here in enumerate(given) if here), default=0)
    return next((n for n in range(begin + 1, len(text) + 1) if ends_text(text[:n])), len(text))


def cut(out, real, ends_text, pad=PAD):
    """sequences, order, log_probs of a full generation with each row cut, and how many stay."""
    sequences = out.sequences.clone()
    order = out.order.clone()
    log_probs = out.log_probs.clone()
    kept = []
    for row, is_real in enumerate(real):
        places = is_real.nonzero()[:, 0]
        text = sequences[row, places].tolist()
        kept.append(end_of(text, (order[row, places] < 0).tolist(), ends_text))
        behind = places[kept[-1] :]
        sequences[row, behind], order[row, behind], log_probs[row, behind] = pad, -1, 0.0
    return sequences, order, log_probs, kept


def assert_is_cut(out, reference, real, ends_text, pad=PAD):
    sequences, order, log_probs, kept = cut(reference, real, ends_text, pad)
    assert torch.equal(out.sequences, sequences)
    assert torch.equal(out.order, order)
    torch.testing.assert_close(out.log_probs, log_probs, rtol=0, atol=1e-9)
    assert out.num_forward_passes <= reference.num_forward_passes
    if out.num_forward_passes:
        per_call = (order >= 0).sum() / (len(order) * out.num_forward_passes)
        assert out.tokens_per_forward == pytest.approx(float(per_call))
    return kept


def is_eos(text):
    return text[-1] == EOS


def last_two_alike(text):
    return len(text) > 1 and text[-1] == text[-2]


class LastTwoAlike(StoppingCriteria):
    def __call__(self, input_ids, scores, **kwargs):
        if input_ids.shape[1] < 2:
            return torch.zeros(len(input_ids), dtype=torch.bool)
        return input_ids[:, -1] == input_ids[:, -2]


def parity(logits, masked, generator):
    return (torch.arange(masked.shape[1]) % 2 == 0).expand_as(masked)


SETTINGS = st.fixed_dictionaries(
    {
        "order": st.sampled_from(
            ["random", "left_to_right", "right_to_left", "confidence", "margin", "entropy", parity]
        )
    },
    optional={
        "tokens_per_step": st.integers(1, 4),
        "block_length": st.integers(1, 5),
        "amount": st.sampled_from([{"threshold": 0.5}, {"entropy_bound": 0.7}]),
        "again": st.sampled_from(
            [
                {"resample_steps": 2, "resample_order": order, "resample_fraction": 0.4}
                for order in ("random", "least_confident", "remdm_cap", "remdm_conf")
            ]
        ),
        "guidance_scale": st.just(1.5),
        "max_new_tokens": st.integers(0, 4),
    },
)


@st.composite
def cases(draw):
    """A ragged batch with EOS tokens anywhere, its real tokens, and settings."""
    settings = draw(SETTINGS)
    amount, again = settings.pop("amount", {}), settings.pop("again", {})
    if amount and "remdm" in again.get("resample_order", ""):
        again = {}
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    shape = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    edges = torch.randint(0, shape[1] + 1, (2, shape[0], 1), generator=generator).sort(0).values
    if not settings.get("max_new_tokens"):  # a row has a real token at least
        edges[0].clamp_(max=shape[1] - 1)
        edges[1] = torch.maximum(edges[1], edges[0] + 1)
    real = (torch.arange(shape[1]) >= edges[0]) & (torch.arange(shape[1]) < edges[1])
    ids = torch.randint(0, 3, shape, generator=generator)
    hidden = torch.rand(shape, generator=generator) < 0.6
    if draw(st.booleans()):  # a prompt, then masks
        hidden = torch.arange(shape[1]) >= edges[0] + torch.randint(
            0, 3, (shape[0], 1), generator=generator
        )
    filler = draw(st.sampled_from([PAD, EOS]))  # what stands in the padding ends nothing
    return ids.masked_fill(hidden, MASK).masked_fill(~real, filler), real, settings | amount | again


def result_mask(real, new):
    """Which positions of the result are real: new masks lie behind the last real token."""
    rows = []
    for row in real.tolist():
        end = max((place + 1 for place, here in enumerate(row) if here), default=0)
        rows.append(row[:end] + [True] * new + row[end:])
    return torch.tensor(rows).reshape(len(real), -1)


@pytest.mark.filterwarnings("ignore:nothing to generate")
@hypothesis.settings(max_examples=70)
@hypothesis.given(cases(), st.integers(0, 2**40))
def test_an_eos_cuts_the_full_generation(model, case, seed):
    ids, real, settings = case
    reference = full(model, ids, real.long(), seed=seed, **settings)
    out = full(model, ids, real.long(), seed=seed, eos_token_id=EOS, **settings)
    assert_is_cut(out, reference, result_mask(real, settings.get("max_new_tokens", 0)), is_eos)


@pytest.mark.filterwarnings("ignore:nothing to generate")
@hypothesis.settings(max_examples=50)
@hypothesis.given(cases(), st.integers(0, 2**40), st.booleans())
def test_a_criterion_cuts_the_full_generation(model, case, seed, with_eos):
    ids, real, settings = case
    reference = full(model, ids, real.long(), seed=seed, **settings)
    eos = {"eos_token_id": EOS} if with_eos else {}
    out = full(
        model, ids, real.long(), seed=seed, stopping_criteria=[LastTwoAlike()], **settings, **eos
    )
    kept = assert_is_cut(
        out,
        reference,
        result_mask(real, settings.get("max_new_tokens", 0)),
        lambda text: last_two_alike(text) or (with_eos and is_eos(text)),
    )
    assert len(kept) == len(ids)


# ----------------------------------------------------------------------------------- what is an end
def test_only_generated_tokens_behind_the_last_given_one_end_a_row(model):
    def only_eos(ids, scores):
        return scores.masked_fill(torch.arange(5) != EOS, -torch.inf)

    ids = torch.tensor(
        [
            [EOS, 0, EOS, MASK, MASK, MASK],
            [MASK, 1, MASK, EOS, MASK, MASK],
            [MASK, MASK, MASK, 0, 1, 0],
        ]
    )
    for order in ("random", "left_to_right", "confidence"):
        out = model.generate(ids, order=order, eos_token_id=EOS, logits_processor=[only_eos])
        assert out.tolist() == [[2, 0, 2, 2, PAD, PAD], [2, 1, 2, 2, 2, PAD], [2, 2, 2, 0, 1, 0]]


def test_several_ids_end_a_row(model):
    reference = full(model, masks(20, 8), seed=1)
    real = torch.ones(20, 8, dtype=torch.bool)
    out = full(model, masks(20, 8), seed=1, eos_token_id=[EOS, 0])
    assert_is_cut(out, reference, real, lambda text: text[-1] in (EOS, 0))
    assert torch.equal(
        full(model, masks(20, 8), seed=1, eos_token_id=[EOS]).sequences,
        full(model, masks(20, 8), seed=1, eos_token_id=EOS).sequences,
    )


def test_without_a_pad_id_eos_fills(tiny_model):
    model = tiny_model()
    reference, real = full(model, masks(20, 8), seed=1), torch.ones(20, 8, dtype=torch.bool)
    kept = assert_is_cut(
        full(model, masks(20, 8), seed=1, eos_token_id=EOS), reference, real, is_eos, pad=EOS
    )
    assert min(kept) < 8
    ends = full(model, masks(20, 8), seed=1, eos_token_id=[0, EOS])
    # the first of several
    assert_is_cut(ends, reference, real, lambda text: text[-1] in (EOS, 0), pad=0)
    given = full(model, masks(20, 8), seed=1, eos_token_id=EOS, pad_token_id=1)
    assert_is_cut(given, reference, real, is_eos, pad=1)


def test_the_models_own_eos_counts(tiny_model):
    model = tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD, eos_token_id=EOS)
    plain = tiny_model(vocab_size=5, mask_token_id=MASK, pad_token_id=PAD)
    expected = full(plain, masks(8, 8), seed=1, eos_token_id=EOS)
    assert torch.equal(model.generate(masks(8, 8), seed=1), expected.sequences)
    assert torch.equal(
        model.generate(masks(8, 8), seed=1, eos_token_id=1),
        plain.generate(masks(8, 8), seed=1, eos_token_id=1),
    )


# ----------------------------------------------------------------------------------- stock criteria
RAGGED = torch.tensor(
    [
        [0, 1, 0] + [MASK] * 7,
        [PAD, PAD, 1] + [MASK] * 7,
        [MASK, 1, 2, 1, MASK, MASK] + [PAD] * 4,
        [MASK] * 10,
    ]
)
STEPS = [
    {"order": "left_to_right"},
    {"order": "random"},
    {"order": "left_to_right", "tokens_per_step": 3},
    {"order": "confidence", "block_length": 4},
    {"resample_steps": 2, "resample_fraction": 0.3},
]


@pytest.mark.parametrize("settings", STEPS)
def test_eos_token_criteria_are_the_eos_token_id(model, settings):
    one = full(model, RAGGED, seed=1, eos_token_id=[EOS, 0], **settings)
    two = full(model, RAGGED, seed=1, stopping_criteria=[EosTokenCriteria([EOS, 0])], **settings)
    assert torch.equal(one.sequences, two.sequences) and torch.equal(one.order, two.order)
    assert (
        torch.equal(one.log_probs, two.log_probs)
        and one.num_forward_passes == two.num_forward_passes
    )


@pytest.mark.parametrize("settings", STEPS)
@pytest.mark.parametrize("length", [2, 5, 10])
@pytest.mark.parametrize("eos", [{}, {"eos_token_id": EOS}])
def test_max_length_criteria_count_a_rows_own_tokens(model, settings, length, eos):
    """The prompt included, padding not: whatever the other rows hold."""
    reference = full(model, RAGGED, seed=1, **settings)
    criteria = StoppingCriteriaList([MaxLengthCriteria(length)])
    out = full(model, RAGGED, seed=1, stopping_criteria=criteria, **settings, **eos)
    assert_is_cut(
        out,
        reference,
        RAGGED != PAD,
        lambda text: len(text) >= length or (bool(eos) and is_eos(text)),
    )


@pytest.mark.parametrize("settings", STEPS)
def test_a_stop_string_ends_a_text(tiny_model, settings):
    tokenizer = build_tokenizer("char", "abcdef")
    mask, pad = tokenizer.mask_token_id, tokenizer.pad_token_id
    model = tiny_model(
        vocab_size=len(tokenizer), mask_token_id=mask, pad_token_id=pad, max_position_embeddings=16
    )
    ids = torch.tensor(
        [[0, 1, 0] + [mask] * 9, [pad, pad, 1] + [mask] * 9, [mask] * 12, [2, 1] + [mask] * 10]
    )
    # a, b and c alone
    letters = [SuppressTokensLogitsProcessor(list(range(3, tokenizer.unk_token_id + 1)))]
    for strings in (["ab"], ["ca", "bbb"]):

        def ends(text, strings=strings):
            return any(tokenizer.decode(text).endswith(string) for string in strings)

        reference = full(model, ids, seed=2, logits_processor=letters, **settings)
        criteria = [StopStringCriteria(tokenizer, strings)]
        out = full(
            model, ids, seed=2, logits_processor=letters, stopping_criteria=criteria, **settings
        )
        kept = assert_is_cut(out, reference, ids != pad, ends, pad)
        assert min(kept) < 10 and len(set(kept)) > 1


@pytest.mark.parametrize(
    "settings", [{"order": "left_to_right"}, {"order": "random"}, {"block_length": 3}]
)
def test_a_time_limit_stops_at_once(model, settings):
    """As soon as there is a first token: one step of a left-to-right generation."""
    criteria = [MaxTimeCriteria(1.0, initial_timestamp=0.0)]
    ids = torch.cat((torch.tensor([[0, 1]]), masks(1, 10)), 1)
    reference = full(model, ids, seed=1, **settings)
    out = full(model, ids, seed=1, stopping_criteria=criteria, **settings)
    assert out.num_forward_passes == int(reference.order[0, 2]) + 1
    assert out.sequences[0].tolist() == [*reference.sequences[0, :3].tolist(), *[PAD] * 9]
    later = full(model, ids, seed=1, stopping_criteria=[MaxTimeCriteria(1e9)], **settings)
    assert torch.equal(later.sequences, reference.sequences)


def test_a_time_limit_is_seen_in_the_middle(model):
    class AfterCalls(StoppingCriteria):
        def __init__(self, calls):
            self.calls = calls

        def __call__(self, input_ids, scores, **kwargs):
            self.calls -= 1
            return self.calls < 0

    out = full(model, masks(2, 10), order="left_to_right", stopping_criteria=[AfterCalls(4)])
    assert out.num_forward_passes == 5 and ((out.sequences != PAD).sum(1) == 5).all()
    # nothing new is complete in front, and the time is up: what is complete stays
    order = torch.tensor([0, 1, 9, 8, 7, 6, 5, 4, 3, 2])
    out = full(model, masks(1, 10), order=order, stopping_criteria=[AfterCalls(4)])
    assert out.num_forward_passes == 5 and (out.sequences != PAD).sum() == 2


def test_every_beginning_is_asked_for_in_turn(model):
    seen = []

    def criterion(input_ids, scores):
        assert scores is None
        seen.append(input_ids[0].tolist())
        return False

    for settings in ({}, {"tokens_per_step": 4}, {"order": "left_to_right"}, {"resample_steps": 3}):
        seen.clear()
        ids = torch.tensor([[PAD, 0, 1] + [MASK] * 6 + [PAD]])
        out = model.generate(ids, seed=1, stopping_criteria=[criterion], **settings)
        text = out[0, 1:9].tolist()
        # the longest may be asked about again
        asked = [beginning for beginning, _ in itertools.groupby(seen)]
        assert asked == [text[:length] for length in range(3, 9)]


def test_none_in_the_call_turns_the_models_eos_off(tiny_model):
    model = tiny_model(vocab_size=5, mask_token_id=3, pad_token_id=4, eos_token_id=2)
    ids = torch.full((20, 8), 3)
    assert (model.generate(ids, seed=1) == 4).any()
    assert not (model.generate(ids, seed=1, eos_token_id=None) == 4).any()


def test_ends_without_something_to_put_behind_them_are_refused(tiny_model, monkeypatch):
    model = tiny_model()
    criteria = [MaxLengthCriteria(4)]
    reference, real = full(model, masks(2, 8), seed=1), torch.ones(2, 8, dtype=torch.bool)
    for filler in ({"pad_token_id": 1}, {"eos_token_id": 1}):
        out = full(model, masks(2, 8), seed=1, stopping_criteria=criteria, **filler)
        assert_is_cut(
            out,
            reference,
            real,
            lambda text, filler=filler: (
                len(text) == 4 or ("eos_token_id" in filler and text[-1] == 1)
            ),
            pad=1,
        )
    monkeypatch.setattr(
        ARDMForMaskedLM, "forward", lambda *_, **__: pytest.fail("the network was called")
    )
    with pytest.raises(ValueError, match="stopping_criteria need a pad_token_id"):
        model.generate(masks(2, 8), stopping_criteria=criteria)
