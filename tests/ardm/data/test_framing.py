"""Framing: what stands around a text stands around each window, and is given."""

import pytest
import torch
from tokenizers import Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast

from ardm.data import Corpus, build_tokenizer, load_corpus, make_windows
from ardm.data.framing import Frame


class Model:
    class config:
        given_token_ids: tuple = ()
        max_position_embeddings = 8


@pytest.fixture
def tokenizer():
    """Letters, with [CLS] before and [SEP] behind a text."""
    built = build_tokenizer("char", "abcdef")
    built.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]"})
    ids = [("[CLS]", built.cls_token_id), ("[SEP]", built.sep_token_id)]
    built.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ids
    )
    return built


def test_a_frame_is_what_is_set_around_and_only_given(tokenizer):
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert Frame.of(tokenizer, [cls, sep]) == Frame((cls,), (sep,))
    assert Frame.of(tokenizer, [cls]) == Frame((cls,), ())
    assert Frame.of(tokenizer, []) == Frame() and Frame().num_tokens == 0
    assert Frame.of(build_tokenizer("char", "abc"), [0, 1]) == Frame()


def test_a_tokenizer_need_not_know_any_letter():
    backend = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "7": 2}))
    bare = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert Frame.of(bare, [0, 1]) == Frame()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s> </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    framed = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert Frame.of(framed, [0, 1]) == Frame((0,), (1, 1))


@pytest.mark.parametrize("kind", ["roberta", "bert", "bytes"])
def test_it_is_what_stands_around_a_text(kind):
    """Of processors of each kind that tokenizers have."""
    vocab = {"<s>": 0, "</s>": 1, "a": 2}
    ends = (("</s>", 1), ("<s>", 0))
    made = {
        "roberta": lambda: processors.RobertaProcessing(*ends),
        "bert": lambda: processors.BertProcessing(*ends),
        "bytes": lambda: processors.ByteLevel(trim_offsets=True),
    }
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.post_processor = made[kind]()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    frame = Frame.of(tokenizer, [0, 1])
    assert [*frame.before, 2, *frame.after] == tokenizer("a")["input_ids"]


@pytest.mark.parametrize("streaming", [False, True])
def test_windows_within_a_frame_hold_the_same_text(tokenizer, tmp_path, streaming):
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    (tmp_path / "t.txt").write_text("abcdef" * 60)
    corpus = Corpus(train_file=str(tmp_path / "t.txt"), sequence_length=8, streaming=streaming)
    model = Model()
    model.config.given_token_ids = (cls, sep)
    _, framed = load_corpus(corpus, tokenizer, model)
    rows = list(framed["train"])
    _, bare = load_corpus(
        Corpus(train_file=str(tmp_path / "t.txt"), sequence_length=6, streaming=streaming),
        tokenizer,
    )
    for row, plain in zip(rows, bare["train"], strict=True):
        assert row["input_ids"].tolist() == [cls, *plain["input_ids"].tolist(), sep]
        assert row["prompt_mask"].tolist() == [1, 0, 0, 0, 0, 0, 0, 1]
        assert row["num_characters"] == plain["num_characters"]
    one = next(iter(framed["train"]))
    assert one["input_ids"].dtype == torch.int64


def test_an_empty_frame_changes_nothing(tokenizer):
    from datasets import Dataset

    windows = make_windows(Dataset.from_dict({"text": ["abcdef" * 5]}), tokenizer, 4)
    assert Frame().around(windows) is windows


def test_a_window_must_hold_more_than_its_frame(tokenizer, tmp_path):
    (tmp_path / "t.txt").write_text("abcdef" * 60)
    model = Model()
    model.config.given_token_ids = (tokenizer.cls_token_id, tokenizer.sep_token_id)
    corpus = Corpus(train_file=str(tmp_path / "t.txt"), sequence_length=2)
    with pytest.raises(ValueError, match="sequence_length is 2, of which the tokenizer sets 2"):
        load_corpus(corpus, tokenizer, model)
