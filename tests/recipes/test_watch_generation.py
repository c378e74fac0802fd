"""watch_generation: what is shown is what `generate` writes, on the terminal and on the page."""

import json
import re
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForMaskedLM, AutoTokenizer


def test_it_leaves_a_page_and_a_picture(tmp_path, saved, recipe, capsys):
    watch = recipe("watch_generation").main
    where = ["--model_name_or_path", saved.folder, "--output_dir", tmp_path / "watch"]
    where = [*map(str, where), "--seed", "1"]
    tokenizer = AutoTokenizer.from_pretrained(saved.folder)
    model = AutoModelForMaskedLM.from_pretrained(saved.folder)
    whole = tokenizer.decode(model.generate(tokens_per_step=4, resample_steps=3, seed=1)[0])
    gap = tokenizer("the quick [MASK][MASK][MASK][MASK][MASK] fox__", return_tensors="pt").input_ids
    filled = tokenizer.decode(model.generate(gap, max_new_tokens=4, order="confidence", seed=1)[0])
    prompt = ["--prompt", "the quick _____ fox__", "--max_new_tokens", "4", "--order", "confidence"]
    for arguments, text, passes in (
        (["--tokens_per_step", "4", "--resample_steps", "3"], whole, 11),
        (prompt, filled, 9),
    ):
        watch([*where, *arguments])
        printed = capsys.readouterr().out
        assert f"\n{text}\n" in printed and f"pass {passes} " in printed and "\x1b" not in printed
        page, picture = re.search(r"The page is (\S+), the picture (\S+)\.", printed).groups()
        content = Path(page).read_text(encoding="utf-8")
        data = json.loads(re.search('id="trace">(.*?)</script>', content)[1])
        assert (data["text"], data["steps"]) == (text, passes)
        assert data["caption"].startswith("model, ") and str(tmp_path.parent) not in content
        assert Path(picture).read_bytes().startswith(b"\x89PNG")


BAD = {
    "has no gap to fill; expected one": ["--prompt", "the quick __ fox"],
    "has no gap": ["--prompt", ""],
    "expected at most 32": ["--prompt", "the " * 20, "--max_new_tokens", "4"],
    "delay": ["--delay", "-1"],
    "steps": ["--steps", "4", "--tokens_per_step", "2"],
    "written to": ["--output_dir", "file/watch"],
    "no model can be loaded": ["--model_name_or_path", "{tmp}/nowhere"],
}


@pytest.mark.parametrize("named", BAD)
def test_it_says_what_is_wrong_before_it_begins(
    tmp_path, saved, recipe, no_network, monkeypatch, named
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved.folder, "runs/ardm")
    (tmp_path / "file").write_text("in the way")
    words = [word.replace("{tmp}", str(tmp_path)) for word in BAD[named]]
    with pytest.raises(ValueError, match=named):
        recipe("watch_generation").main(words)
