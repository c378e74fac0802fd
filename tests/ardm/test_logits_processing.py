"""Stock logits processors do what they do in a plain left-to-right loop, or are refused."""

import inspect

import pytest
import torch
from transformers.generation import LogitsProcessor
from transformers.generation import logits_process as stock

from ardm import ARDMForMaskedLM
from ardm.logits_processing import LogitsProcessing

MASK, PAD, EOS, VOCAB = 12, 13, 2, 14
ROWS = [[0, 1], [4, 5, 0, 5, 4], [], [3, 1, 3]]  # prompts
NEW = 6


@pytest.fixture(scope="module")
def model(tiny_model):
    sizes = {
        "vocab_size": VOCAB,
        "mask_token_id": MASK,
        "pad_token_id": PAD,
        "max_position_embeddings": 12,
    }
    return tiny_model(**sizes, scale=0.5)


def allowed(batch_id, text):
    """A token of another parity than the last one."""
    return [token for token in range(MASK) if not len(text) or token % 2 != int(text[-1]) % 2]


# keeps no state but a table of a million numbers
WATERMARK = stock.WatermarkLogitsProcessor(VOCAB, "cpu", bias=3.0)
# What looks at the text left of a position; then what does not. Functions, since some keep a state.
AFTER_PREFIX = {
    "MinLength": lambda: stock.MinLengthLogitsProcessor(6, EOS),
    "MinNewTokensLength": lambda: stock.MinNewTokensLengthLogitsProcessor(2, 3, [EOS, 4]),
    "NoRepeatNGram": lambda: stock.NoRepeatNGramLogitsProcessor(2),
    "NoRepeatNGram of one": lambda: stock.NoRepeatNGramLogitsProcessor(1),
    "EncoderNoRepeatNGram": lambda: stock.EncoderNoRepeatNGramLogitsProcessor(
        2, torch.tensor([[0, 1, 5, 4, 3]])
    ),
    "SequenceBias": lambda: stock.SequenceBiasLogitsProcessor(
        [[[0, 1, 4], 9.0], [[1, 4], -7.0], [[3], 2.0]]
    ),
    "NoBadWords": lambda: stock.NoBadWordsLogitsProcessor(
        [[1, 4], [5, 0, 3], [2]], eos_token_id=EOS
    ),
    "PrefixConstrained": lambda: stock.PrefixConstrainedLogitsProcessor(allowed, num_beams=1),
    "ForcedBOSToken": lambda: stock.ForcedBOSTokenLogitsProcessor(5),
    "ForcedEOSToken": lambda: stock.ForcedEOSTokenLogitsProcessor(7, EOS),
    "ExponentialDecay": lambda: stock.ExponentialDecayLengthPenalty((1, 1.6), EOS, 2),
    "SuppressTokensAtBegin": lambda: stock.SuppressTokensAtBeginLogitsProcessor([0, 1, 3], 2),
    "Watermark": lambda: WATERMARK,
}
ANYWHERE = {
    "Temperature": lambda: stock.TemperatureLogitsWarper(0.5),
    "TopP": lambda: stock.TopPLogitsWarper(0.6),
    "TopK": lambda: stock.TopKLogitsWarper(2),
    "TopH": lambda: stock.TopHLogitsWarper(0.5),
    "MinP": lambda: stock.MinPLogitsWarper(0.3),
    "Typical": lambda: stock.TypicalLogitsWarper(0.6),
    "Epsilon": lambda: stock.EpsilonLogitsWarper(0.1),
    "Eta": lambda: stock.EtaLogitsWarper(0.3),
    "RepetitionPenalty": lambda: stock.RepetitionPenaltyLogitsProcessor(3.0),
    "RepetitionPenalty behind": lambda: stock.RepetitionPenaltyLogitsProcessor(
        3.0, prompt_ignore_length=3
    ),
    "EncoderRepetitionPenalty": lambda: stock.EncoderRepetitionPenaltyLogitsProcessor(
        3.0, torch.tensor([[0, 5]])
    ),
    "SuppressTokens": lambda: stock.SuppressTokensLogitsProcessor([0, 3]),
    "InfNanRemove": lambda: stock.InfNanRemoveLogitsProcessor(),
    "LogitNormalization": lambda: stock.LogitNormalization(),
    "SequenceBias of one": lambda: stock.SequenceBiasLogitsProcessor({(1,): 2.0, (4,): -3.0}),
    "NoBadWords of one": lambda: stock.NoBadWordsLogitsProcessor([[1], [5]]),
}
if not hasattr(stock, "TopHLogitsWarper"):
    del ANYWHERE["TopH"]
ALL = AFTER_PREFIX | ANYWHERE
LEFT_TO_RIGHT = {"order": "left_to_right", "return_dict_in_generate": True}


# ----------------------------------------------------------------------------------- the plain loop
@torch.no_grad()
def plain_loop(model, prompt, count, processor, text=None):
    """Token by token from the left; the processor sees (1, t) ids as in autoregressive generation.

    Returns the text (greedy, or the given one) and the log-probability of each of its new tokens.
    """
    ids, log_probs = list(prompt), []
    for t in range(len(prompt), len(prompt) + count):
        state = torch.tensor([ids + [MASK] * (len(prompt) + count - t)])
        logits = model(state).logits[:, t]
        scores = (
            processor(torch.tensor([ids], dtype=torch.long), logits).double().log_softmax(-1)[0]
        )
        ids.append(int(scores.argmax()) if text is None else text[t])
        log_probs.append(float(scores[ids[-1]]))
    return ids, log_probs


def input_of(rows, side, filler=PAD):
    """Ragged rows in one batch and its attention mask."""
    longest = max(map(len, rows))
    pairs = [(row, [filler] * (longest - len(row))) for row in rows]
    ids = [row + fill if side == "right" else fill + row for row, fill in pairs]
    real = [
        [1] * len(r) + [0] * len(f) if side == "right" else [0] * len(f) + [1] * len(r)
        for r, f in pairs
    ]
    return torch.tensor(ids), torch.tensor(real)


def real_part(row, values, rows, side):
    longest, length = max(map(len, rows)), len(rows[row]) + NEW
    # an empty row has its masks in front
    begin = longest - len(rows[row]) if side == "left" and rows[row] else 0
    return values[row, begin : begin + length].tolist()


@pytest.mark.parametrize("name", ALL)
def test_a_stock_processor_does_what_it_does_in_a_plain_loop(model, name):
    for prompt in ROWS:
        settings = LEFT_TO_RIGHT | {"max_new_tokens": NEW, "logits_processor": [ALL[name]()]}
        ids = torch.tensor([prompt], dtype=torch.long) if prompt else None
        greedy = model.generate(ids, do_sample=False, **settings)
        text, log_probs = plain_loop(model, prompt, NEW, ALL[name]())
        assert greedy.sequences[0].tolist() == text
        assert greedy.log_probs[0, len(prompt) :].tolist() == pytest.approx(log_probs, abs=1e-5)
        settings["logits_processor"] = [ALL[name]()]
        sampled = model.generate(ids, seed=1, num_return_sequences=2, **settings)
        for sequence, drawn in zip(sampled.sequences.tolist(), sampled.log_probs, strict=True):
            _, log_probs = plain_loop(model, prompt, NEW, ALL[name](), sequence)
            assert drawn[len(prompt) :].tolist() == pytest.approx(log_probs, abs=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_every_processor_has_an_effect_here(model, name):
    """Else the loop would prove nothing."""

    def log_probs(processors):
        ids, real = input_of([row for row in ROWS if len(row) == 2] * 3, "right")
        out = model.generate(
            ids, real, seed=1, max_new_tokens=NEW, logits_processor=processors, **LEFT_TO_RIGHT
        )
        return out.log_probs

    same = torch.allclose(log_probs([ALL[name]()]), log_probs(None), atol=1e-4)
    # without an effect on finite logits, or on a prompt of two tokens
    assert same == (name in ("InfNanRemove", "LogitNormalization", "ForcedBOSToken"))


@pytest.mark.slow
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", [name for name in ALL if name != "PrefixConstrained"])
def test_ragged_rows_get_what_each_gets_alone(model, name, side):
    ids, real = input_of(ROWS, side)
    settings = LEFT_TO_RIGHT | {"max_new_tokens": NEW}
    out = model.generate(ids, real, seed=[1, 2, 3, 4], logits_processor=[ALL[name]()], **settings)
    for row, prompt in enumerate(ROWS):
        sequence = real_part(row, out.sequences, ROWS, side)
        drawn = real_part(row, out.log_probs, ROWS, side)
        _, log_probs = plain_loop(model, prompt, NEW, ALL[name](), sequence)
        assert drawn[len(prompt) :] == pytest.approx(log_probs, abs=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("filler", [0, 5])
def test_what_stands_in_the_padding_is_no_text(tiny_model, side, filler):
    """A model without a pad id: the attention mask alone tells what is padding."""

    class Mine(stock.RepetitionPenaltyLogitsProcessor):  # sees what the stock one sees
        pass

    model = tiny_model(
        vocab_size=VOCAB - 1, mask_token_id=MASK, max_position_embeddings=12, scale=0.5
    )
    ids, real = input_of([[1, 2], [4, 3, 1, 3]], side, filler)
    settings = LEFT_TO_RIGHT | {"max_new_tokens": NEW}
    for make in (ALL["RepetitionPenalty"], ALL["NoRepeatNGram of one"], lambda: Mine(3.0)):
        out = model.generate(ids, real, seed=[1, 2], logits_processor=[make()], **settings)
        alone = model.generate(
            torch.tensor([[1, 2]]), seed=1, logits_processor=[make()], **settings
        )
        begin = 2 if side == "left" else 0
        torch.testing.assert_close(
            out.log_probs[:1, begin : begin + 8], alone.log_probs, rtol=0, atol=1e-5
        )


def test_given_tokens_to_the_right_are_not_text_to_the_left(model):
    """Infilling: a processor of what stands to the left sees that alone."""
    ids = torch.tensor([[0, 1, MASK, MASK, 4, MASK, 5]])
    out = model.generate(
        ids,
        logits_processor=[stock.NoRepeatNGramLogitsProcessor(1)],
        do_sample=False,
        **LEFT_TO_RIGHT,
    )
    text = out.sequences[0].tolist()
    for position in (2, 3, 5):
        assert text[position] not in text[:position]
    settings = {"seed": 1, "num_return_sequences": 100} | LEFT_TO_RIGHT
    sampled = model.generate(
        ids, logits_processor=[stock.NoRepeatNGramLogitsProcessor(1)], **settings
    ).sequences
    # 4 and 5 are still to come
    assert (sampled[:, 2:4] == 5).any() and (sampled[:, 2:4] == 4).any()


# ---------------------------------------------------------------------- processors that number rows
def test_the_constraint_knows_its_row(model):
    asked = []

    def only(batch_id, text):
        asked.append((batch_id, text.tolist()))
        return [batch_id, batch_id + 3]

    ids = torch.tensor([[0, 1, MASK, MASK], [5, 4, MASK, MASK], [3, 3, MASK, MASK]])
    processor = stock.PrefixConstrainedLogitsProcessor(only, num_beams=1)
    out = model.generate(ids, logits_processor=[processor], seed=1, **LEFT_TO_RIGHT).sequences
    assert all(set(row[2:]) <= {number, number + 3} for number, row in enumerate(out.tolist()))
    assert asked == [(row, out[row, :length].tolist()) for length in (2, 3) for row in range(3)]


def test_a_row_that_has_ended_does_not_disturb_the_constraint(model):
    def complete(batch_id, text):
        assert MASK not in text  # a row that has ended is not asked about
        return allowed(batch_id, text)

    settings = LEFT_TO_RIGHT | {"seed": 1}
    settings["logits_processor"] = [stock.PrefixConstrainedLogitsProcessor(complete, num_beams=1)]
    ids = torch.tensor([[0, 1] + [MASK] * 6] * 8)
    full = model.generate(ids, **settings).sequences
    out = model.generate(ids, eos_token_id=EOS, **settings).sequences
    ends = [(row == EOS).nonzero()[:1].flatten().tolist() for row in full]
    assert len({tuple(end) for end in ends}) > 2  # rows end at different steps
    for row, end in enumerate(ends):
        stop = end[0] + 1 if end else 8
        assert torch.equal(out[row, :stop], full[row, :stop]) and (out[row, stop:] == PAD).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_row_keeps_its_number_whatever_the_length_of_the_others(model, side):
    ids, real = input_of(ROWS, side)
    encoder = torch.tensor([[0, 1, 5], [4, 1, 4], [3, 3, 3], [1, 3, 4]])

    def other_letters(batch_id, text):
        return [
            token
            for token in range(MASK)
            if token % 4 == batch_id and token not in text.tolist()[-1:]
        ]

    makes = {  # in the batch, and for a row alone
        "constraint": (
            lambda: stock.PrefixConstrainedLogitsProcessor(other_letters, num_beams=1),
            lambda row: stock.PrefixConstrainedLogitsProcessor(
                lambda _, text: other_letters(row, text), 1
            ),
        ),
        "encoder": (
            lambda: stock.EncoderNoRepeatNGramLogitsProcessor(2, encoder),
            lambda row: stock.EncoderNoRepeatNGramLogitsProcessor(2, encoder[row : row + 1]),
        ),
    }
    for together, alone in makes.values():
        settings = LEFT_TO_RIGHT | {
            "max_new_tokens": NEW,
            "seed": 1,
            "logits_processor": [together()],
        }
        out = model.generate(ids, real, **settings)
        for row, prompt in enumerate(ROWS):
            sequence = real_part(row, out.sequences, ROWS, side)
            drawn = real_part(row, out.log_probs, ROWS, side)
            _, log_probs = plain_loop(model, prompt, NEW, alone(row), sequence)
            assert drawn[len(prompt) :] == pytest.approx(log_probs, abs=1e-5)


def test_each_row_has_its_own_encoder_text(model):
    encoder = torch.tensor([[0, 1, 5], [1, 3, 4]])
    ids = torch.tensor([[0, 1] + [MASK] * 6, [4, 1] + [MASK] * 6])
    processor = stock.EncoderNoRepeatNGramLogitsProcessor(2, encoder)
    out = model.generate(ids, seed=1, logits_processor=[processor], **LEFT_TO_RIGHT)
    for row in range(2):
        own = stock.EncoderNoRepeatNGramLogitsProcessor(2, encoder[row : row + 1])
        _, log_probs = plain_loop(model, ids[row, :2].tolist(), 6, own, out.sequences[row].tolist())
        assert out.log_probs[row, 2:].tolist() == pytest.approx(log_probs, abs=1e-5)


# ---------------------------------------------------------------------------------- what is refused
STOCK = {
    name: kind
    for name, kind in vars(stock).items()
    if inspect.isclass(kind) and issubclass(kind, LogitsProcessor) and kind is not LogitsProcessor
}


def test_every_stock_processor_is_tested_here_or_refused():
    tested = {type(make()).__name__ for make in ALL.values()}
    assert tested <= set(STOCK)
    for name in set(STOCK) - tested:
        processor = STOCK[name].__new__(STOCK[name])
        with pytest.raises(ValueError, match=f"{name} (does not work here|asks for)"):
            LogitsProcessing([processor], one_by_one=True)
    assert {
        "UnbatchedClassifierFreeGuidanceLogitsProcessor",
        "AlternatingCodebooksLogitsProcessor",
    } <= set(STOCK) - tested


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"order": "right_to_left"},
        {"order": "confidence"},
        {"order": torch.arange(8)},
        {"order": lambda logits, masked, generator: -torch.arange(8).expand(2, 8)},
        {"order": "left_to_right", "tokens_per_step": 2},
        {"order": "left_to_right", "steps": 3},
        {"order": "left_to_right", "plan": [7, 1]},
        {"order": "left_to_right", "resample_steps": 1},
        {"order": "left_to_right", "resample_steps": 1, "resample_order": "remdm_cap"},
        {"order": "left_to_right", "threshold": 0.9},
        {"order": "left_to_right", "entropy_bound": 0.1},
    ],
)
def test_what_needs_the_text_to_the_left_is_refused_elsewhere(model, monkeypatch, settings):
    monkeypatch.setattr(
        ARDMForMaskedLM, "forward", lambda *_, **__: pytest.fail("the network was called")
    )
    message = r"needs the text left of each position; expected order='left_to_right'"
    for make in AFTER_PREFIX.values():
        with pytest.raises(ValueError, match=message):
            model.generate(torch.full((2, 8), MASK), logits_processor=[make()], **settings)


def test_a_subclass_is_what_it_inherits_from():
    class Mine(stock.NoRepeatNGramLogitsProcessor):
        pass

    LogitsProcessing([Mine(2)], one_by_one=True)
    with pytest.raises(ValueError, match="Mine needs the text left"):
        LogitsProcessing([Mine(2)], one_by_one=False)


def test_blocks_and_one_token_at_a_time_are_left_to_right(model):
    ids = torch.full((1, 8), MASK)
    settings = LEFT_TO_RIGHT | {
        "seed": 1,
        "logits_processor": [stock.NoRepeatNGramLogitsProcessor(2)],
    }
    plain = model.generate(ids, **settings)
    for more in ({"block_length": 3}, {"steps": 8}, {"plan": [1] * 8}, {"tokens_per_step": 1}):
        assert torch.equal(model.generate(ids, **settings, **more).sequences, plain.sequences)


# ---------------------------------------------------------------------------------------- any place
IDS = torch.tensor([[0, 1, MASK, MASK, 4, MASK, MASK], [PAD, PAD, MASK, 3, MASK, MASK, PAD]])


@pytest.mark.parametrize("order", ["random", "confidence"])
def test_what_asks_nothing_or_which_tokens_there_are_works_at_any_position(model, order):
    """One position at a time, with all that is known by then as its text."""
    for name, make in ANYWHERE.items():
        if name == "RepetitionPenalty behind":
            continue  # ignores the first columns
        settings = {
            "order": order,
            "seed": 1,
            "output_history": True,
            "return_dict_in_generate": True,
        }
        out = model.generate(IDS, tokens_per_step=2, logits_processor=[make()], **settings)
        for number, before in enumerate([IDS, *out.history[:-1]]):
            logits = model(before, (before != PAD).long()).logits.detach()
            for row, position in (out.order == number).nonzero().tolist():
                scores = (
                    make()(before[row : row + 1], logits[row : row + 1, position])
                    .double()
                    .log_softmax(-1)[0]
                )
                drawn = float(out.log_probs[row, position])
                assert drawn == pytest.approx(
                    float(scores[out.sequences[row, position]]), abs=1e-5
                ), name
