"""Parts of a card are Markdown that means what it was told, and tells no local paths."""

from dataclasses import replace

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard

from ardm.training import card_parts
from ardm.training.card_parts import (
    RunFigures,
    bullets,
    duration,
    fenced,
    front_matter,
    paragraphs,
    picture_files,
    sections,
    table,
    training,
    versions,
    with_error,
)

FULL = RunFigures(
    model_name="me/model",
    datasets=["me/data"],
    hyperparameters={"learning_rate": 0.5, "order": "a|b"},
    command="accelerate launch recipes/train.py",
    seed=0,
    machine="x86_64",
    date="2026-01-02",
    wall_clock_seconds=125.4,
    loss_curve="loss_curve.png",
    language="en",
)


# ------------------------------------------------------------------------------------- the frame
def test_front_matter_is_read_back():
    result = EvalResult(
        task_type="fill-mask",
        dataset_type="me/data",
        dataset_name="data",
        metric_type="bits",
        metric_value=1.5,
    )
    text = front_matter(FULL, pipeline_tag="fill-mask", tags=("a", "b"), results=[result])
    data = ModelCard(text).data
    assert (data.license, data.language, data.datasets) == ("apache-2.0", "en", ["me/data"])
    assert (data.library_name, data.pipeline_tag, data.tags) == (
        "transformers",
        "fill-mask",
        ["a", "b"],
    )
    assert data.eval_results[0].metric_value == 1.5


def test_front_matter_of_what_is_not_known_has_no_line_for_it():
    text = front_matter(RunFigures(), pipeline_tag="fill-mask", tags=[])
    known = yaml.safe_load(text.strip("-\n"))
    assert set(known) <= {"license", "library_name", "pipeline_tag", "tags"}


def test_the_training_section_says_all_it_was_told():
    text = training(FULL)
    assert text.split("\n\n") == [
        "```bash\naccelerate launch recipes/train.py\n```",
        "- Seed: 0\n- Machine: x86_64\n- Date: 2026-01-02\n- Wall-clock: 2 min 5 s",
        "<details><summary>All settings</summary>",
        "| Hyperparameter | Value |\n| --- | --- |\n| learning_rate | 0.5 |\n| order | a\\|b |",
        "</details>",
        "![Loss curve](loss_curve.png)",
    ]
    assert training(RunFigures()) == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 min 0 s"), (59.6, "1 min 0 s"), (125.4, "2 min 5 s"), (7325, "122 min 5 s")],
)
def test_times_have_one_format(seconds, said):
    assert duration(seconds) == said
    assert f"- Wall-clock: {said}" in training(RunFigures(wall_clock_seconds=seconds))


def test_sections_and_paragraphs_without_a_text_do_not_appear():
    assert sections({"A": "a\n", "B": None, "C": "", "D": "d"}) == "## A\n\na\n\n## D\n\nd"
    assert paragraphs("a ", None, "", "b") == "a\n\nb"
    assert bullets({"a": 0, "b": None, "c": ""}) == "- a: 0\n- c: "


# ------------------------------------------------------------------------------------- the parts
@pytest.mark.parametrize("text", ["a|b", "a\nb", "<b>", "\\|", "a\r\n\n|", ""])
def test_a_cell_stays_in_its_place(text):
    lines = table(["Name", "Value"], [("x", text), ("y", 1)]).split("\n")
    assert len(lines) == 4
    for line in lines:
        unescaped = line.replace("\\\\", "").replace("\\|", "")
        assert unescaped.count("|") == 3 and "<" not in unescaped
    assert table(["Name"], []) == ""


@pytest.mark.parametrize("several", [[1, 2, 2], (1, 2, 2)])
def test_several_values_of_a_setting_stand_as_on_the_command_line(several):
    assert table(["Name", "Value"], [("channel_mult", several)]).endswith(
        "| channel_mult | 1 2 2 |"
    )


@pytest.mark.parametrize("text", ["plain", "```", "a ```` b", "`"])
def test_a_text_cannot_leave_its_fence(text):
    block = fenced(text, "bash")
    fence, *inside, last = block.split("\n")
    assert fence.removesuffix("bash") == last and "\n".join(inside) == text
    assert len(last) >= 3 and last not in text


def test_versions_of_what_is_installed():
    lines = versions().split("\n")
    assert lines[0].startswith("- Python: 3.")
    assert any(line.startswith("- torch: ") for line in lines)


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    def missing(name):
        raise card_parts.metadata.PackageNotFoundError

    monkeypatch.setattr(card_parts.metadata, "version", missing)
    assert versions().count("\n") == 0


# --------------------------------------------------------------------------- what may be said
def test_the_figures_of_a_run_never_name_a_folder():
    figures = RunFigures(training_data="/home/secret/texts")
    assert figures.training_data == "texts"
    assert replace(figures, training_data="../secret/model").training_data == "model"
    assert RunFigures(training_data="The first part of wiki27.").training_data.endswith("wiki27.")
    assert RunFigures().training_data is None


def test_a_figure_without_an_error_says_so():
    assert with_error(2.07314, 0.0527) == "2.0731 ± 0.0527"
    assert with_error(2.07314, 0.0527, 3, "+-") == "2.073 +- 0.053"
    assert "nan" not in with_error(2.0, float("nan")) and "unknown" in with_error(2.0, float("nan"))


# --------------------------------------------------------------------------------- the pictures
def test_a_picture_that_cannot_be_drawn_costs_nothing_but_itself():
    def missing():
        raise ImportError("drawing needs matplotlib")

    drawn = {"a.gif": lambda: b"GIF", "b.png": missing, "c.png": b"PNG"}
    with pytest.warns(UserWarning, match=r"without b\.png: drawing needs matplotlib"):
        figures, contents = picture_files(RunFigures(), drawn, lambda: b"curve")
    assert contents == {"a.gif": b"GIF", "c.png": b"PNG", "loss_curve.png": b"curve"}
    assert (figures.pictures, figures.loss_curve) == (["a.gif", "c.png"], "loss_curve.png")
    with pytest.warns(UserWarning, match="without its loss curve"):
        assert picture_files(RunFigures(), {}, missing)[0].loss_curve is None
    with pytest.raises(ValueError, match="expected a file name without folders"):
        picture_files(RunFigures(), {"a/b.png": missing}, None)  # before anything is drawn
