"""The benchmarks of text models print every figure that they promise."""

import lzma
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# a fifth of the benchmarks' weights, and still more work than the loop around them
SMALLER = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3}


def test_the_likelihood_benchmark_prints_every_figure(saved, recipe, capsys):
    words = [*saved.words, "--repeats", 8, "--estimates", 4, "--sequence_length", 8]
    recipe("benchmark_likelihood").main([*map(str, words)])
    printed = capsys.readouterr().out
    pattern = r"s\.d\. ([\d.]+) stratified, ([\d.]+) independent .* 1 : ([\d.]+)"
    stratified, independent, ratio = map(float, re.search(pattern, printed).groups())
    assert ratio == pytest.approx((independent / stratified) ** 2, rel=0.05)
    pattern = r"(\w+) samples: s\.d\. [\d.]+ bits, spread / reported [\d.]+, s\.d\. of z [\d.]+"
    assert re.findall(pattern, printed) == ["8", "32", "128", "all"]
    assert len(re.findall(r": \d+ tokens/s", printed)) == 2


@pytest.mark.slow
def test_the_training_benchmark_prints_a_row_for_each_loop(recipe, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark_training.py", "--steps", "44"])
    benchmark = recipe("benchmark_training")
    benchmark.SIZES.update(SMALLER)
    benchmark.main()
    figures = r"total / inside ([\d.]+) +(\d+) tokens/s +utilisation ([\d.]+)"
    rows = re.findall(rf"batch +(\d+) +(.*?) +{figures}", capsys.readouterr().out)
    loops = ("ardm, Muon", "ardm, AdamW", "BERT, Trainer, AdamW")
    assert [(batch, name) for batch, name, *_ in rows] == [*product(("32", "4"), loops)]
    for *_, ratio, tokens, used in rows:
        assert 1 <= float(ratio) < 3 and int(tokens) > 0 and 0 < float(used) < 2


@pytest.mark.slow
def test_the_generation_benchmark_prints_every_figure(recipe):
    benchmark = recipe("benchmark_generation")
    # in a process of its own: it counts live tensors, and those of other tests come and go
    script = (
        f"import runpy; r = runpy.run_path({benchmark.__file__!r}); "
        "r['main'].__globals__.update(SIZES={16: (2, 16, 3, 1.02)}, VOCABULARY=500); "
        "r['main'](['--repeats', '1'])"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    printed = done.stdout
    ratios = re.findall(r"^  (\w+) +([\d.]+) +([\d.]+)$", printed, re.MULTILINE)
    assert [name for name, *_ in ratios] == [*benchmark.CALLS]
    assert all(1 < float(ratio) < 20 for _, *pair in ratios for ratio in pair)
    assert [k for k, _ in re.findall(r"(\d+) a step: (\d+) tokens/s", printed)] == ["1", "4", "16"]
    kept = re.findall(r"output_history=(\w+): (\d+) kB kept of (\d+) passes", printed)
    assert [(history, passes) for history, _, passes in kept] == [
        *product(("False", "True"), ("8", "64"))
    ]
    few, many, few_with_history, many_with_history = (int(size) for _, size, _ in kept)
    grown = (64 - 8) * benchmark.BATCH * benchmark.LENGTH * 8 / 1000  # a history does so, int64, kB
    assert many - few < 0.05 * grown
    assert many_with_history - few_with_history == pytest.approx(grown, rel=0.05)
    assert float(re.search(r"vocabulary 500: ([\d.]+) times", printed)[1]) > 0


@pytest.mark.slow
def test_the_learning_benchmark_scores_both_recipes(tmp_path, recipe, capsys, monkeypatch):
    text = ("the quick brown fox jumps over the lazy dog " * 10_000).encode()
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt.xz").write_bytes(lzma.compress(text))
    words = ["--data", str(tmp_path), "--seconds", "3", "--windows", "40"]
    monkeypatch.setattr(sys, "argv", ["benchmark_learning.py", *words])
    benchmark = recipe("benchmark_learning")
    benchmark.SIZES.update(SMALLER)
    benchmark.main()
    pattern = r"(ours|papers) +\d+ steps, \d+ s +([\d.]+) \+- [\d.]+ bits per character"
    rows = re.findall(pattern, capsys.readouterr().out)
    assert [name for name, _ in rows] == ["ours", "papers"]
    assert all(0 < float(bits) < 4.8 for _, bits in rows)
