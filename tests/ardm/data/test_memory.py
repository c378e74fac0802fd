"""Preparing a text takes few bytes a character, in however few documents it comes."""

import os
import subprocess
import sys

import pytest

from ardm.data import embedded_text

JOB = """
import resource, sys
import torch
from ardm.data import Corpus, load_corpus

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

if __name__ == "__main__":
    small, large, kind = sys.argv[1:]
    size = {"vocab_size": 300} if kind == "bpe" else {}
    load_corpus(Corpus(train_file=small, tokenizer=kind, **size))
    before = peak()
    load_corpus(Corpus(train_file=large, tokenizer=kind, **size))
    print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_a_long_document_takes_four_bytes_a_character_beyond_its_file(kind, tmp_path):
    text = embedded_text()
    (tmp_path / "small.txt").write_text(text[:50_000], encoding="utf-8")
    large = tmp_path / "large.txt"
    large.write_text(text * 25, encoding="utf-8")
    (tmp_path / "job.py").write_text(JOB)
    done = subprocess.run(
        [sys.executable, tmp_path / "job.py", tmp_path / "small.txt", large, kind],
        env=os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # beside what does not grow with the text: the objects of some pieces, threads, the writer
    assert int(done.stdout) < large.stat().st_size + 4 * 25 * len(text) + 40 * 2**20
