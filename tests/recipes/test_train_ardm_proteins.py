"""train_ardm_proteins: from FASTA to a model that scores and fills in; resumes; what is refused."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

from ardm.data.synthetic_proteins import synthetic_proteins

SMALL = {
    "max_train_steps": 4,
    "per_device_train_batch_size": 4,
    "logging_steps": 2,
    "checkpointing_steps": 2,
    "max_eval_windows": 12,
    "num_samples": 2,
    "eval_steps": 0,
}
NETWORK = {
    "sequence_length": 40,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


def fasta(path, records):
    path.write_text("".join(f">record {i}\n{each}\n" for i, each in enumerate(records)))
    return path


@pytest.fixture
def protein_file(tmp_path):
    return fasta(tmp_path / "my.fasta", [*synthetic_proteins(60), "mkvlaa*"])


@pytest.fixture
def train_proteins(recipe):
    def train_proteins(folder, *more):
        settings = SMALL if "--model_name_or_path" in more else SMALL | NETWORK
        flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
        recipe("train_ardm_proteins").main([*map(str, [*flags, "--output_dir", folder, *more])])

    return train_proteins


def weights(folder):
    return load_file(folder / "model.safetensors")


STAGES = [[], ["--num_stages", 3], ["--num_stages", 2, "--stage_order", "interleaved"]]


@pytest.mark.parametrize("stages", STAGES, ids=["plain", "stagewise", "interleaved"])
def test_it_leaves_a_model_that_scores_and_fills_in(
    tmp_path, protein_file, train_proteins, capsys, stages
):
    folder = tmp_path / "run"
    train_proteins(folder, "--train_file", protein_file, *stages)
    told = capsys.readouterr().out
    assert "train: 58 sequences of protein" in told and "small letters read as capitals: 6" in told
    assert re.search(r"[\d.]+ \+- [\d.]+ bits per residue given lengths: upper bound on 3", told)
    assert "--- infilled" in told and "bits per residue more tell the lengths" in told
    model = AutoModelForMaskedLM.from_pretrained(folder)
    assert model.config.num_stages == (int(stages[1]) if stages else 1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(f"[BOS]MKV{'[MASK]' * 5}L[EOS]", return_tensors="pt").input_ids
    filled = tokenizer.convert_ids_to_tokens(model.generate(ids, seed=0)[0].tolist())
    assert [*filled[:4], *filled[-2:]] == ["[BOS]", "M", "K", "V", "L", "[EOS]"]
    assert all(re.fullmatch("[A-Z]", token) for token in filled[4:9])
    card = (folder / "README.md").read_text()
    assert "Marks and the number of residues are given" in card and "my.fasta" in card
    assert str(tmp_path) not in card


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, protein_file, train_proteins):
    given = ["--train_file", protein_file]
    train_proteins(tmp_path / "whole", *given)
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped" / "checkpoints" / "step-00000004")
    (tmp_path / "stopped" / "model.safetensors").unlink()
    train_proteins(tmp_path / "stopped", *given)
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = fasta(tmp_path / "other.fasta", synthetic_proteins(61, seed=1))
    with pytest.raises(ValueError, match=r"data(.|\n)*output_dir"):
        train_proteins(tmp_path / "whole", "--train_file", other)


def test_a_saved_model_goes_on_with_its_own_settings(tmp_path, protein_file, train_proteins):
    given = ["--train_file", protein_file]
    train_proteins(tmp_path / "first", *given, "--num_stages", 2)
    shutil.rmtree(tmp_path / "first" / "checkpoints")
    train_proteins(tmp_path / "second", *given, "--model_name_or_path", tmp_path / "first")
    config = json.loads((tmp_path / "second" / "config.json").read_text())
    assert config["num_stages"] == 2 and config["max_position_embeddings"] == 40
    card = (tmp_path / "second" / "README.md").read_text()
    assert "in 2 stages" in card and "| sequence_length | 40 |" in card


def test_without_a_file_the_law_is_told(tmp_path, train_proteins, capsys):
    train_proteins(tmp_path / "run", "--sequence_length", 24)
    told = capsys.readouterr().out
    assert re.search(r"; longer than 22 and cut: [\d,]+ into [\d,]+ rows", told)
    bound = float(re.search(r"([\d.]+) \+- [\d.]+ bits per residue given", told)[1])
    law = float(re.search(r"The law of the data itself needs ([\d.]+) bits", told)[1])
    assert 2.5 < law < bound
    assert "synthetic proteins" in (tmp_path / "run" / "README.md").read_text()


# ------------------------------------------------------------------------------------ bad input
BAD = {
    "does not exist": ["--train_file", "{tmp}/none.fasta"],
    "a sequence without a name": ["--train_file", "{tmp}/headless.fasta"],
    "position 3 holds '7'": ["--train_file", "{tmp}/letters.fasta"],
    "a single record": ["--train_file", "{tmp}/single.fasta"],
    "take the gaps": ["--train_file", "{tmp}/aligned.fasta"],
    "--longer crop": ["--train_file", "{tmp}/good.fasta", "--longer", "refuse"],
    "for dna": ["--train_file", "{tmp}/bases.fasta", "--num_stages", 3],
    "sequence_length is 2": ["--sequence_length", 2],
    "num_stages=1": ["--stage_order", "interleaved"],
    "without a train_file": ["--line_by_line"],
    "max_train_steps": ["--max_train_steps", 0],
    "max_windows is 0": ["--max_eval_windows", 0],
    "no model can be loaded": ["--model_name_or_path", "{tmp}/nowhere"],
}


@pytest.mark.parametrize("named", BAD)
def test_bad_input_is_refused_before_any_training(tmp_path, train_proteins, no_network, named):
    (tmp_path / "headless.fasta").write_text("MKVL\n")
    fasta(tmp_path / "letters.fasta", ["MK7", *["MKV"] * 5])
    fasta(tmp_path / "single.fasta", ["MKV" * 9])
    fasta(tmp_path / "aligned.fasta", ["MK-V", "MKVV"])
    fasta(tmp_path / "good.fasta", ["MKV" * 30] * 4)
    fasta(tmp_path / "bases.fasta", ["ACGT" * 5] * 4)
    words = [str(word).replace("{tmp}", str(tmp_path)) for word in BAD[named]]
    with pytest.raises(ValueError, match=named):
        train_proteins(tmp_path / "run", *words)
    assert not (tmp_path / "run" / "model.safetensors").exists()
