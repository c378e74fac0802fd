"""Alphabets: an id for each letter and back, marks that have no probability, classes that nest."""

import pytest
import torch

from ardm import ARDMConfig, ARDMForMaskedLM
from ardm.data import build_tokenizer, residue_class_table, residue_tokenizer
from ardm.data.residues import ALPHABETS, UNKNOWN, kind_of, residue_ids

from .test_value_tables import SIZES, check

every_kind = pytest.mark.parametrize("kind", ALPHABETS)
TABLES = [("protein", 2), ("protein", 3), ("dna", 2), ("rna", 2)]


@every_kind
def test_letters_are_ids_in_their_order_and_back(kind, tmp_path):
    tokenizer = residue_tokenizer(kind, model_max_length=9)
    letters = "".join(sorted(ALPHABETS[kind]))
    assert len({*letters}) == len(letters) and UNKNOWN[kind] in letters
    assert tokenizer(letters).input_ids == [*range(len(letters))]
    assert tokenizer.decode(tokenizer(letters).input_ids) == letters
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert kind_of(again) == kind_of(tokenizer) == kind and again.model_max_length == 9
    marked = again(f"[BOS]{letters[0]}[MASK][EOS][PAD]").input_ids
    special = [getattr(again, f"{name}_token_id") for name in ("bos", "mask", "eos", "pad")]
    assert marked == [special[0], 0, *special[1:]]


def test_proteins_have_all_capitals():
    assert "".join(sorted(ALPHABETS["protein"])) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize(("kind", "num_stages"), [*TABLES, *((kind, 1) for kind in ALPHABETS)])
def test_a_model_draws_residues_alone(kind, num_stages):
    tokenizer = residue_tokenizer(kind)
    settings = residue_ids(tokenizer) | SIZES
    if num_stages > 1:
        settings["value_tree"] = residue_class_table(kind, num_stages)
    config = ARDMConfig(
        vocab_size=len(tokenizer),
        mask_token_id=tokenizer.mask_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **settings,
    )
    model = ARDMForMaskedLM(config).eval()
    with torch.no_grad():
        logits = model(torch.full((1, 4), tokenizer.mask_token_id)).logits
    possible = logits.softmax(-1)[0, 0] > 0
    assert possible.nonzero().flatten().tolist() == [*range(len(ALPHABETS[kind]))]
    given = torch.tensor([[tokenizer.bos_token_id, *[tokenizer.mask_token_id] * 5]])
    drawn = model.generate(given, seed=0)
    assert drawn[0, 0] == tokenizer.bos_token_id and (drawn[0, 1:] < len(ALPHABETS[kind])).all()


@pytest.mark.parametrize(("kind", "num_stages"), TABLES)
def test_classes_are_a_tree_of_the_letters(kind, num_stages):
    table = residue_class_table(kind, num_stages)
    assert len(table) == num_stages - 1
    check(residue_tokenizer(kind), table)


def test_classes_are_those_of_the_textbook():
    letters = sorted(ALPHABETS["protein"])
    coarse, fine = ([*zip(row, letters, strict=True)] for row in residue_class_table("protein", 3))

    def together(row, members):
        (label,) = {label for label, letter in row if letter in members}
        return "".join(letter for each, letter in row if each == label)

    assert together(fine, "KR") == "HKOR" and together(fine, "DE") == "DE"
    assert together(fine, "FW") == "FWY" and together(coarse, "KE") == "DEHKOR"
    assert together(coarse, "AW") == "AFGIJLMPVWY" and together(coarse, "X") == "BXZ"
    assert residue_class_table("protein", 2) == residue_class_table("protein", 3)[1:]
    assert residue_class_table("dna", 2) == [[0, 1, 0, 2, 1]]  # A C G N T


def test_a_class_that_is_given_is_refined():
    tokenizer = residue_tokenizer("protein")
    table = residue_class_table("protein", 3)
    settings = residue_ids(tokenizer) | SIZES | {"value_tree": table}
    special = {"mask_token_id": tokenizer.mask_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = ARDMForMaskedLM(ARDMConfig(vocab_size=len(tokenizer), **special, **settings)).eval()
    lysine, tryptophan = tokenizer("KW").input_ids
    charged = model.stages.coarsen(torch.tensor(lysine), 1)
    aromatic = model.stages.coarsen(torch.tensor(tryptophan), 2)
    given = torch.stack([charged, aromatic, torch.tensor(tokenizer.mask_token_id)]).repeat(20, 1)
    drawn = model.generate(given, seed=0)
    assert {*tokenizer.decode(drawn[:, 0])} <= {*"KRHDEO"}
    assert {*tokenizer.decode(drawn[:, 1])} == {*"FYW"}


def test_other_kinds_and_numbers_are_refused():
    with pytest.raises(ValueError, match="kind is 'lipid'; expected one of protein, dna, rna"):
        residue_tokenizer("lipid")
    with pytest.raises(ValueError, match=r"num_stages is 3; expected an integer in 2\.\.2 for dna"):
        residue_class_table("dna", 3)
    with pytest.raises(ValueError, match=r"2\.\.3 for protein"):
        residue_class_table("protein", 1)


@pytest.mark.parametrize("letters", ["ACGTN", "ACGTNacgtn", "hello"])
def test_a_tokenizer_of_texts_is_told(letters):
    with pytest.raises(ValueError, match="expected those of protein, dna, rna"):
        kind_of(build_tokenizer("char", letters))
