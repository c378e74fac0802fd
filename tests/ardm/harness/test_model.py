"""The harness' requests: figures by enumeration, answers that depend on their request alone."""

import importlib
import math
import random
import sys

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model

import ardm
from ardm import log_prob, nelbo
from ardm.harness.model import ARDMHarness
from ardm.harness.requests import GREEDY
from ardm.path_likelihood import LIKELIHOOD_ORDERS


def requests(kind, *arguments, first=0):
    return [Instance(kind, {}, args, 0, ("task", first + i, 1)) for i, args in enumerate(arguments)]


def scores(harness, *pairs):
    return [
        value
        for value, _ in harness.loglikelihood(requests("loglikelihood", *pairs), disable_tqdm=True)
    ]


def generate(harness, context, **settings):
    (text,) = harness.generate_until(
        requests("generate_until", (context, settings)), disable_tqdm=True
    )
    return text


def exact(enumeration, harness, context, continuation):
    """log p(continuation | context) in each order of the continuation's tokens, (orders,)."""
    ids = torch.tensor(harness._encode(context + continuation))
    table = enumeration(harness.model, len(ids))
    start = ids.clone()
    start[len(context) :] = table.mask
    return torch.stack(
        [table.log_prob(order, start=start, sequences=ids[None])[0] for order in table.orders]
    )


# --------------------------------------------------------------------------------------- likelihood
@pytest.mark.parametrize(("context", "continuation"), [("ab", "ca"), ("a", "cba"), ("", "cab")])
def test_the_score_is_the_conditional_bound(harness, enumeration, context, continuation):
    h = harness(num_samples=4096, greedy="off")
    (value,) = scores(h, (context, continuation))
    in_each_order = exact(enumeration, h, context, continuation)
    ids = torch.tensor([h._encode(context + continuation)])
    prompt = torch.arange(ids.shape[1])[None] < len(context)
    error = nelbo(h.model, ids, num_samples=4096, prompt_mask=prompt).standard_error.item()
    assert 0 < error < 0.05
    assert abs(value - in_each_order.mean()) < 4 * error
    assert value < in_each_order.logsumexp(0) - math.log(len(in_each_order)) + 4 * error


@pytest.mark.parametrize("order", LIKELIHOOD_ORDERS)
def test_an_order_gives_the_exact_score(harness, enumeration, order):
    h = harness(order=order, greedy="off")
    for context, continuation in (("ab", "ca"), ("", "bac")):
        in_each_order = exact(enumeration, h, context, continuation)
        (value,) = scores(h, (context, continuation))
        assert (in_each_order - value).abs().min() < 1e-5
        ids = torch.tensor([h._encode(context + continuation)])
        places = {
            "left_to_right": torch.arange(ids.shape[1]),
            "right_to_left": torch.arange(ids.shape[1]).flip(0),
        }
        given = torch.arange(ids.shape[1])[None] < len(context)
        expected = log_prob(h.model, ids, places.get(order, order), prompt_mask=given)
        assert value == pytest.approx(expected.item(), abs=1e-6)


def test_one_token_is_exact_and_nothing_is_certain(harness, enumeration):
    h = harness(num_samples=1)
    one, nothing = scores(h, ("ab", "c"), ("ab ", ""))
    assert one == pytest.approx(exact(enumeration, h, "ab", "c")[0].item(), abs=1e-6)
    assert nothing == 0
    assert h.loglikelihood(requests("loglikelihood", ("ab", "")), disable_tqdm=True) == [
        (0.0, True)
    ]


def test_likelihoods_depend_on_their_request_alone(harness):
    pairs = [("ab", "ca"), ("", "cab"), ("abca", "ab"), ("ab", "c"), ("b" * 20, "aa"), ("ab", "ca")]
    asked = requests("loglikelihood", *pairs)
    together = harness(num_samples=4).loglikelihood(asked, disable_tqdm=True)
    mixed = random.Random(1).sample(range(len(asked)), len(asked))
    again = harness(num_samples=4, batch_size=3).loglikelihood(
        [asked[i] for i in mixed], disable_tqdm=True
    )
    assert again == [together[i] for i in mixed]
    assert [
        harness(num_samples=4).loglikelihood([one], disable_tqdm=True)[0] for one in asked
    ] == together
    assert together[0] == together[-1]  # another document's number is no part of the request
    assert harness(num_samples=4, seed=1).loglikelihood(asked, disable_tqdm=True) != together


@pytest.fixture
def bounds(monkeypatch):
    """(seed, options) of the calls of `nelbo`."""
    calls = []

    def counted(*args, generator, **options):
        calls.append((generator.initial_seed(), options))
        return nelbo(*args, generator=generator, **options)

    monkeypatch.setattr("ardm.harness.model.nelbo", counted)
    return calls


def test_answers_to_one_question_share_their_random_numbers(harness, bounds):
    h = harness(num_samples=2, greedy="off")
    for context, option in (("ab", "ca"), ("ab", "cb"), ("b", "ca"), ("b", "cb")):
        h.loglikelihood(requests("loglikelihood", (context, option)), disable_tqdm=True)
    seeds = [seed for seed, _ in bounds]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]


def test_the_samples_of_one_token_are_not_repeated(harness, bounds):
    scores(harness(num_samples=5, greedy="off"), ("ab", "c"), ("ab", "ca"))
    assert [options["num_samples"] for _, options in bounds] == ["all", 5]


def test_a_long_context_loses_its_beginning(harness):
    h = harness(order="left_to_right")
    long, fitting = scores(h, ("cab" * 10 + "abcabc", "ab"), ("abcabc", "ab"))
    assert long == fitting
    with pytest.raises(ValueError, match="9 tokens; expected at most max_position_embeddings=8"):
        scores(h, ("", "abc"), ("a", "abcabcabc"))


def test_spaces_before_a_continuation_belong_to_it(harness):
    h = harness(order="left_to_right")
    first, second = scores(h, ("ab ", "ca"), ("ab", " ca"))
    assert first == second


def test_greedy_says_whether_decoding_writes_the_text(harness):
    h = harness(num_samples=1)
    ids = torch.tensor([h._encode("ab")])
    written = h.tokenizer.decode(h.model.generate(ids, max_new_tokens=3, **GREEDY)[0, 2:])
    others = [text for text in ("aaa", "bca", "ccc") if text != written]
    asked = requests("loglikelihood", ("ab", written), *[("ab", text) for text in others])
    assert [greedy for _, greedy in h.loglikelihood(asked, disable_tqdm=True)] == [True] + [
        False
    ] * len(others)
    assert not any(
        greedy for _, greedy in harness(greedy="off").loglikelihood(asked, disable_tqdm=True)
    )


# ------------------------------------------------------------------------------------------ rolling
def test_rolling_is_the_bound_of_a_short_text(harness):
    h = harness(num_samples=4096)
    (value,) = h.loglikelihood_rolling(
        requests("loglikelihood_rolling", ("abcab",)), disable_tqdm=True
    )
    bound = nelbo(h.model, torch.tensor([h._encode("abcab")]), num_samples=4096)
    assert abs(value + bound.nats.item()) < 6 * bound.standard_error.item()


def test_rolling_adds_up_the_windows_of_a_long_text(harness):
    h = harness(order="left_to_right")
    text = "abcabbca cabacbba ac"  # 8 + 8 + 4, the last behind 4 others
    long, none = h.loglikelihood_rolling(
        requests("loglikelihood_rolling", (text,), ("",)), disable_tqdm=True
    )
    assert none == 0
    expected = 0.0
    for part, given in ((text[:8], 0), (text[8:16], 0), (text[12:], 4)):
        ids = torch.tensor([h._encode(part)])
        prompt = torch.arange(8)[None] < given
        expected += log_prob(h.model, ids, torch.arange(8), prompt_mask=prompt).item()
    assert long == pytest.approx(expected, abs=1e-6)


def test_windows_have_random_numbers_of_their_own(harness, bounds):
    harness(num_samples=2).loglikelihood_rolling(
        requests("loglikelihood_rolling", ("abcabcab" * 2,))
    )
    assert len({seed for seed, _ in bounds}) == len(bounds) == 2


# --------------------------------------------------------------------------------------- generation
def test_generation_is_what_the_model_generates(harness):
    h = harness()
    expected = h.model.generate(
        torch.tensor([h._encode("ab")]), max_new_tokens=4, order="confidence", do_sample=False
    )
    assert generate(h, "ab", until=[], max_gen_toks=4) == h.tokenizer.decode(expected[0, 2:])
    assert generate(h, "ab", max_gen_toks=4, temperature=0.0) == generate(h, "ab", max_gen_toks=4)
    ids = h._encode(generate(h, "", max_gen_toks=8))
    assert len(ids) == 8
    assert h.tokenizer.unk_token_id in ids  # an unknown character is no empty text


def test_generation_depends_on_its_request_alone(harness):
    sampled = {"until": [], "max_gen_toks": 4, "do_sample": True, "temperature": 0.9}
    greedy = {"until": [], "max_gen_toks": 5}
    contexts = ["ab", "", "abca", "b" * 20, "c"]
    asked = requests(
        "generate_until", *[(c, sampled) for c in contexts], *[(c, greedy) for c in contexts]
    )
    together = harness(batch_size=4).generate_until(asked, disable_tqdm=True)
    mixed = random.Random(1).sample(range(len(asked)), len(asked))
    again = harness().generate_until([asked[i] for i in mixed], disable_tqdm=True)
    assert again == [together[i] for i in mixed]
    assert [len(harness()._encode(text)) for text in together] == [4] * 5 + [5] * 5
    other = harness(batch_size=4, seed=1).generate_until(asked, disable_tqdm=True)
    assert other[:5] != together[:5] and other[5:] == together[5:]
    assert generate(harness(), "ab", **sampled, seed=1) == generate(
        harness(seed=1), "ab", **sampled
    )


def test_repeats_and_documents_are_different_samples(harness):
    settings = {"until": [], "max_gen_toks": 8, "do_sample": True, "temperature": 1.0}
    (one,) = requests("generate_until", ("", settings))
    assert len(set(harness(batch_size=2).generate_until([one] * 6, disable_tqdm=True))) > 3
    documents = requests("generate_until", *[("", settings)] * 6)
    for number, request in enumerate(documents):
        request.doc = {"question": number}
    written = harness().generate_until(documents, disable_tqdm=True)
    assert len(set(written)) > 3
    for request in documents:  # whatever its number is
        request.doc_id = 10 - request.doc_id
    assert harness().generate_until(documents[3:], disable_tqdm=True) == written[3:]


def test_generation_stops_at_the_first_stop_string(harness):
    text = generate(harness(), "ab", max_gen_toks=6)
    stopped = generate(harness(), "ab", max_gen_toks=6, until=text[2:4])
    assert stopped == text[: text.index(text[2:4])]
    assert generate(harness(), "ab", max_gen_toks=6, until=["", "zzz"]) == text
    for seed in range(5):  # nor is what lies behind an end any text
        assert "[PAD]" not in generate(
            harness(), "", max_gen_toks=8, do_sample=True, seed=seed, eos_token_id=1
        )


def test_settings_reach_generate(harness, monkeypatch):
    h = harness(tokens_per_step=2, generation_order="left_to_right")
    seen = []
    original = h.model.generate

    def watched(ids, *args, **settings):
        masks = int((ids == h.model.config.mask_token_id).sum())
        seen.append({**settings, "masks": masks})
        return original(ids, *args, **settings)

    monkeypatch.setattr(h.model, "generate", watched)
    generate(h, "ab")
    generate(h, "ab", max_gen_toks=2, do_sample=True, temperature=0.5, top_k=2, steps=1)
    generate(h, "ab", order="entropy")
    own = {"masks": 4, "tokens_per_step": 2, "order": "left_to_right", "do_sample": False}
    asked = {"masks": 2, "temperature": 0.5, "top_k": 2, "steps": 1}
    assert seen[0].items() >= own.items() and seen[1].items() >= asked.items()
    assert "tokens_per_step" not in seen[1] and seen[2]["order"] == "entropy"


@pytest.mark.parametrize(
    ("context", "settings", "named"),
    [
        ("ab", {"max_gen_toks": 8}, r"expected 1\.\.7"),
        ("", {"max_gen_toks": 9}, r"expected 1\.\.8"),
        ("ab", {"max_gen_toks": 0}, "max_gen_toks is 0"),
        ("ab", {"num_beams": 4}, "num_beams"),
        ("a[MASK]", {}, "mask token"),
    ],
)
def test_what_cannot_be_generated_is_said(harness, context, settings, named):
    with pytest.raises(ValueError, match=named):
        generate(harness(), context, **settings)


def test_a_cut_context_still_generates(harness):
    assert generate(harness(), "cab" * 10 + "ab", max_gen_toks=6) == generate(
        harness(), "ab", max_gen_toks=6
    )


# ------------------------------------------------------------------------------------------ options
BAD_OPTIONS = {
    "num_samples": (0, "some", 1.5, True),
    "order": ("random", "sideways"),
    "batch_size": ("auto", 0),
    "seed": (-1, "x"),
    "device": ("nowhere",),
    "tokens_per_step": (0,),
    "generation_order": ("upwards",),
    "greedy": ("perhaps",),
    "pretrained": (None, 3),
    "tokenizer": ("a name",),
    "max_batch_size": (4,),
}


@pytest.mark.parametrize(
    ("option", "value"), [(name, value) for name, bad in BAD_OPTIONS.items() for value in bad]
)
def test_a_bad_option_is_an_error_that_names_it(tmp_path, monkeypatch, option, value):
    monkeypatch.setattr(
        "ardm.harness.options.load_folder", lambda name: pytest.fail("the model was loaded")
    )
    with pytest.raises(ValueError, match=option):
        ARDMHarness(**{"pretrained": str(tmp_path), option: value})


def test_options_arrive_as_text(harness, tmp_path):
    h = harness()
    h.model.save_pretrained(tmp_path)
    h.tokenizer.save_pretrained(tmp_path)
    text = f"pretrained={tmp_path},num_samples=all,order=None,greedy=off,seed=3,tokens_per_step=2"
    loaded = get_model("ardm").create_from_arg_string(text, {"batch_size": "2", "device": "cuda:0"})
    assert type(loaded) is ARDMHarness and isinstance(loaded.model, ardm.ARDMForMaskedLM)
    assert (loaded.num_samples, loaded.order, loaded.greedy) == ("all", None, False)
    assert (loaded.batch_size, loaded.seed, loaded.tokens_per_step) == (2, 3, 2)
    asked = requests("loglikelihood", ("ab", "ca"))
    assert loaded.loglikelihood(asked) == harness(
        num_samples="all", greedy=False, seed=3
    ).loglikelihood(asked)


def test_a_missing_harness_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.api.registry", None)
    with pytest.raises(ImportError, match=r"pip install lm-eval"):
        importlib.reload(importlib.import_module("ardm.harness.model"))


# ---------------------------------------------------------------------------------- unknown letters
def test_a_text_of_another_alphabet_has_no_bits(harness, caplog):
    h = harness(num_samples=2, greedy="off")
    with pytest.raises(ValueError, match=r"of 4 characters 3 \(75 %\) are unknown"):
        h.loglikelihood_rolling(requests("loglikelihood_rolling", ("axyz",)), disable_tqdm=True)
    scores(h, ("axyz", "ab"))
    assert not caplog.records  # what is given has no likelihood to lose
    scores(h, ("ab", "ax"))
    assert "of 2 characters 1 (50 %) are unknown" in caplog.text


@pytest.mark.parametrize("settings", [{"until": [3]}, {"num_return_sequences": 2}])
def test_answers_are_single_texts(harness, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        generate(harness(), "ab", **settings)
