"""generate_ardm: what it writes is what `generate` gives, whatever stands beside it."""

import io
import json
import shutil

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from ardm.data.framing import Frame

PROMPTS = ["the ______ fox", "a ___ dog ____", "over"]


@pytest.fixture
def generate(saved, recipe, capsysbinary):
    """The recipe on the trained model: words -> what it prints."""

    def generate(*words):
        recipe("generate_ardm").main(["--model_name_or_path", str(saved.folder), *map(str, words)])
        return capsysbinary.readouterr().out.decode()

    return generate


def rows_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_texts_are_those_of_generate(saved, generate):
    model = AutoModelForMaskedLM.from_pretrained(saved.folder)
    tokenizer = AutoTokenizer.from_pretrained(saved.folder)
    whole = model.generate(num_return_sequences=2, steps=5, seed=3)
    expected = tokenizer.batch_decode(whole)
    assert generate("--num_return_sequences", 2, "--steps", 5, "--seed", 3) == "".join(
        f"{text}\n" for text in expected
    )
    ids = tokenizer("the " + tokenizer.mask_token * 6 + " fox", return_tensors="pt").input_ids
    filled = model.generate(
        ids, max_new_tokens=3, order="confidence", seed=3, return_dict_in_generate=True
    )
    words = ("--prompt", "the ______ fox", "--max_new_tokens", 3, "--order", "confidence")
    (row,) = rows_of(generate(*words, "--seed", 3, "--output_file", "-"))
    assert row["text"] == tokenizer.decode(filled.sequences[0])
    assert (row["num_generated"], row["num_steps"], row["sample"], row["seed"]) == (9, 9, 0, 3)
    assert row["log_prob"] == pytest.approx(float(filled.log_probs.sum()), abs=1e-6)


def test_neither_other_prompts_nor_the_batch_size_change_a_text(tmp_path, generate, monkeypatch):
    common = ("--max_new_tokens", 2, "--num_return_sequences", 3, "--seed", 7)
    path = tmp_path / "written.jsonl"
    assert generate("--prompt", *PROMPTS, *common, "--output_file", path) == ""
    together = rows_of(path.read_text(encoding="utf-8"))
    assert [row["prompt"] for row in together] == [each for each in PROMPTS for _ in range(3)]
    assert [row["sample"] for row in together] == [0, 1, 2] * 3
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(PROMPTS)))
    words = ("--prompt_file", "-", "--batch_size", 1, "--output_file", "-")
    one_by_one = rows_of(generate(*words, *common))
    alone = []
    for number, prompt in enumerate(PROMPTS):
        seed = ("--seed", 7 + number)
        alone += rows_of(generate("--prompt", prompt, *common, *seed, "--output_file", "-"))
    nats = pytest.approx([row.pop("log_prob") for row in together], abs=1e-5)
    for other in (one_by_one, alone):
        assert [row.pop("log_prob") for row in other] == nats
        assert other == together
    texts = {row["text"] for row in together}
    assert len(texts) > 6 and all("[MASK]" not in text for text in texts)
    given = (row["text"].startswith("over") for row in together[6:])
    assert all(given) and all(len(row["text"]) == 6 for row in together[6:])


BAD = {
    "has no gap to fill; expected one": ["--prompt", "the quick __ fox"],
    "at most one of them": ["--prompt", "___", "--prompt_file", "-"],
    "num_return_sequences is 0": ["--num_return_sequences", "0"],
    "batch_size is 0": ["--batch_size", "0"],
    "expected at most 32": ["--prompt", "the " * 20, "--max_new_tokens", "4"],
    "got tokens_per_step and steps": ["--steps", "4", "--tokens_per_step", "2"],
    "temperature": ["--temperature", "-1"],
    "no model can be loaded": ["--model_name_or_path", "{tmp}/nowhere"],
}


@pytest.mark.parametrize("named", BAD)
def test_it_says_what_is_wrong_before_it_begins(
    tmp_path, saved, recipe, no_network, monkeypatch, named
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved.folder, "runs/ardm")
    words = [word.replace("{tmp}", str(tmp_path)) for word in BAD[named]]
    with pytest.raises(ValueError, match=named):
        recipe("generate_ardm").main(words)


def test_what_the_model_takes_as_given_is_put_around(saved, recipe, monkeypatch):
    """As adopted models have [CLS] and [SEP], and only they."""
    module = recipe("generate_ardm")
    model, tokenizer = module.load_folder(saved.folder)
    given = []

    def encode(text, tokenizer, *, around, **_):
        given.append(around)
        return torch.tensor([[*around.before, tokenizer.mask_token_id, *around.after]])

    frame = Frame((3,), (4, 5))
    monkeypatch.setattr(module, "load_folder", lambda name, **code: (model, tokenizer))
    monkeypatch.setattr(module, "encode_gaps", encode)
    module.main(["--prompt", "the ___"])
    monkeypatch.setattr(module, "frame_of", lambda model, tokenizer: frame)
    module.main(["--prompt", "the ___"])
    assert given == [Frame(), frame]
