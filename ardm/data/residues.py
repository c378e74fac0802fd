"""Residues: alphabets of proteins, DNA and RNA, their tokenizers and classes of residues.

A row of ids is `[BOS] residues [EOS]`, where the marks stand at ends of the molecule alone: what is
cut out of its middle has none. Marks are only ever given, never drawn: their probability is 0. With
them and the number of positions known, what is modelled is p(residues | how many).
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..training import check_integer
from .tokenization import build_tokenizer

ALPHABETS = {
    "protein": "ACDEFGHIKLMNPQRSTVWY" + "XBZJUO",  # the 20 amino acids, and IUPAC's other letters
    "dna": "ACGTN",
    "rna": "ACGUN",
}
UNKNOWN = {"protein": "X", "dna": "N", "rna": "N"}  # the letter for "any"
BEGIN = "[BOS]"
END = "[EOS]"

# coarse to fine; letters that may stand for residues of two classes are with those for any
_CLASSES: dict[str, list[dict[str, str]]] = {
    "protein": [
        {"hydrophobic": "GAPVLIMFYWJ", "polar": "STCNQU", "charged": "KRHDEO", "any": "XBZ"},
        {
            "aliphatic": "GAPVLIMJ",
            "aromatic": "FYW",
            "polar": "STCNQU",
            "positive": "KRHO",
            "negative": "DE",
            "any": "XBZ",
        },
    ],
    "dna": [{"purine": "AG", "pyrimidine": "CT", "any": "N"}],
    "rna": [{"purine": "AG", "pyrimidine": "CU", "any": "N"}],
}


def residue_tokenizer(kind: str, model_max_length: int | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer of residues: an id for each letter, by its place in the alphabet.

    Args:
        kind: "protein", "dna" or "rna".
        model_max_length: the longest row of the model.

    Returns:
        A tokenizer of characters with mask, pad and unknown token, and marks for the two ends.

    Raises:
        ValueError: if there is no such alphabet.
    """
    letters = _known(kind, ALPHABETS)
    tokenizer = build_tokenizer("char", letters, model_max_length=model_max_length)
    tokenizer.add_special_tokens({"bos_token": BEGIN, "eos_token": END})
    return tokenizer


def residue_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What a model's configuration says of these ids, beside the mask and the pad id.

    Args:
        tokenizer: of [`residue_tokenizer`].

    Returns:
        Fields of `ARDMConfig`: residues are the values, and all other ids have probability 0.
    """
    no_ids = {f"{name}_token_id": None for name in ("bos", "eos", "unk")}
    return {"num_values": len(ALPHABETS[kind_of(tokenizer)]), **no_ids}


def kind_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """Which residues a tokenizer reads.

    Args:
        tokenizer: a saved model's.

    Returns:
        "protein", "dna" or "rna".

    Raises:
        ValueError: if it is of none of these, or has no marks for ends.
    """
    special = {*tokenizer.all_special_tokens}
    letters = "".join(sorted({*tokenizer.get_vocab()} - special))
    marks = (tokenizer.bos_token, tokenizer.eos_token)
    for kind, alphabet in ALPHABETS.items():
        if letters == "".join(sorted(alphabet)) and marks == (BEGIN, END):
            return kind
    raise ValueError(
        f"the tokenizer has the letters {letters[:40]!r} and the marks {marks}; expected those of"
        f" {', '.join(ALPHABETS)} with {BEGIN} and {END}."
    )


def residue_class_table(kind: str, num_stages: int) -> list[list[int]]:
    """Classes of residues as coarse values, for `ARDMConfig(value_tree=table)`.

    Amino acids are hydrophobic, polar or charged, then aliphatic, aromatic, polar, positive or
    negative; bases are purines or pyrimidines. B, Z and X (N) stand for residues of several
    classes and are a class of their own.

    Args:
        kind: "protein", "dna" or "rna".
        num_stages: S: of proteins 2 (the finer classes) or 3 (both), of bases 2.

    Returns:
        S-1 rows of a label for each letter in the order of ids, the coarsest first.

    Raises:
        ValueError: if there is no such alphabet, or it has other classes.
    """
    rows = _known(kind, _CLASSES)
    number = check_integer("num_stages", num_stages, 2, len(rows) + 1, f" for {kind}")
    letters = sorted(ALPHABETS[kind])
    return [
        [
            next(i for i, members in enumerate(row.values()) if letter in members)
            for letter in letters
        ]
        for row in rows[len(rows) + 1 - number :]
    ]


def _known(kind: str, table: dict[str, Any]) -> Any:
    if kind not in table:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(table)}.")
    return table[kind]
