"""Flags of residues: those without an effect are refused, a saved model has its own."""

import argparse

import pytest

from ardm.data import Corpus, residue_class_table, residue_tokenizer
from ardm.evaluation import new_model, protein_arguments


def parsed(*words):
    parser = argparse.ArgumentParser()
    protein_arguments.add_protein_arguments(parser)
    return protein_arguments.parse(parser, [*map(str, words)])


def test_a_new_model_has_a_length_and_one_stage():
    args = parsed()
    assert args.sequence_length == protein_arguments.SEQUENCE_LENGTH and args.num_stages == 1
    settings = protein_arguments.network_settings(args, residue_tokenizer("protein"))
    assert settings["num_values"] == 26 and "value_tree" not in settings


@pytest.mark.parametrize("kind", ["protein", "dna"])
def test_stages_go_by_classes(kind):
    args = parsed("--num_stages", 2, "--stage_order", "interleaved")
    settings = protein_arguments.network_settings(args, residue_tokenizer(kind))
    assert settings["value_tree"] == residue_class_table(kind, 2)
    assert settings["stage_order"] == "interleaved"


BAD = {
    "num_stages=1; expected several": ["--stage_order", "stagewise"],
    "num_stages is 0": ["--num_stages", 0],
    "num_samples is 0": ["--num_samples", 0],
    "--alphabet and a model": ["--alphabet", "dna", "--model_name_or_path", "x"],
    "--num_stages and a model": ["--num_stages", 2, "--model_name_or_path", "x"],
    "--hidden_size and a model": ["--hidden_size", 8, "--model_name_or_path", "x"],
}


@pytest.mark.parametrize("named", BAD)
def test_flags_without_an_effect_are_refused(named):
    with pytest.raises(ValueError, match=named):
        parsed(*BAD[named])


def test_a_saved_model_has_its_own_settings():
    tokenizer = residue_tokenizer("rna")
    settings = parsed("--num_stages", 2, "--hidden_size", 8, "--num_attention_heads", 2)
    network = protein_arguments.network_settings(settings, tokenizer)
    model = new_model(tokenizer, 24, **network)
    args = parsed("--model_name_or_path", "x")
    protein_arguments.take_over(args, model, tokenizer)
    assert (args.alphabet, args.sequence_length) == ("rna", 24)
    longer = parsed("--model_name_or_path", "x", "--sequence_length", 25)
    with pytest.raises(ValueError, match="sequence_length is 25"):
        protein_arguments.take_over(longer, model, tokenizer)


@pytest.mark.parametrize(
    ("corpus", "name"),
    [(Corpus(), "synthetic"), (Corpus(train_file="/a/my.fasta"), "my.fasta")],
)
def test_data_have_a_name(corpus, name):
    assert protein_arguments.data_name(corpus).startswith(name)
