"""The harness evaluates tasks of each kind, and its figures are those of the model's answers."""

import json
import math

import pytest
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager


def requests(kind, *arguments):
    return [Instance(kind, {}, args, 0, ("task", i, 1)) for i, args in enumerate(arguments)]


def metric(name, aggregation, higher_is_better):
    return [{"metric": name, "aggregation": aggregation, "higher_is_better": higher_is_better}]


TASKS = {
    "choice": {
        "output_type": "multiple_choice",
        "doc_to_text": "context",
        "doc_to_choice": "options",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "metric_list": metric("acc", "mean", True),
    },
    "bits": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "context",
        "metric_list": metric("bits_per_byte", "bits_per_byte", False),
    },
    "write": {
        "output_type": "generate_until",
        "doc_to_text": "context",
        "doc_to_target": "{{options[answer]}}",
        "target_delimiter": "",
        "generation_kwargs": {"until": [" "], "max_gen_toks": 3},
        "metric_list": metric("exact_match", "mean", True),
    },
}


CONTEXTS = ["ab", "cab", "abcabcabcab"]
OPTIONS = ["ca", "bb", "ac"]


def best_option(h, context):
    asked = requests("loglikelihood", *[(context, option) for option in OPTIONS])
    values = [value for value, _ in h.loglikelihood(asked, disable_tqdm=True)]
    return values.index(max(values))


def write_tasks(folder, answers):
    """The tasks as the harness reads them; settings may be JSON."""
    rows = [
        {"context": context, "options": OPTIONS, "answer": answer}
        for context, answer in zip(CONTEXTS, answers, strict=True)
    ]
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
    }
    for name, task in TASKS.items():
        (folder / f"{name}.yaml").write_text(json.dumps({"task": name, **common, **task}))


@pytest.mark.slow
def test_the_harness_evaluates_all_kinds_of_tasks(harness, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    h = harness(order="left_to_right", batch_size=2)
    answers = [best_option(h, context) for context in CONTEXTS]
    answers[2] = (answers[2] + 1) % 3  # one is wrong
    write_tasks(tmp_path, answers)
    tasks = TaskManager(include_path=str(tmp_path), include_defaults=False)
    found = simple_evaluate(
        h, tasks=[*TASKS], task_manager=tasks, bootstrap_iters=0, log_samples=True
    )
    results = found["results"]
    assert results["choice"]["acc,none"] == pytest.approx(2 / 3)
    rolled = h.loglikelihood_rolling(requests("loglikelihood_rolling", *[(c,) for c in CONTEXTS]))
    bits = -sum(rolled) / math.log(2) / len("".join(CONTEXTS))
    assert results["bits"]["bits_per_byte,none"] == pytest.approx(bits)
    for sample in found["samples"]["write"]:
        asked = (sample["doc"]["context"], {"until": [" "], "max_gen_toks": 3})
        assert sample["resps"] == [h.generate_until(requests("generate_until", asked))]
