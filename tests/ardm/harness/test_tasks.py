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


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """The harness on our tasks: (model, right answers, options) -> what it found."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def run(model, answers=(0, 1, 2), **options):
        write_tasks(tmp_path, answers)
        manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
        return simple_evaluate(
            model,
            tasks=[*TASKS],
            task_manager=manager,
            bootstrap_iters=0,
            log_samples=True,
            **options,
        )

    return run


def answers_of(found):
    """What the model answered to each document of each task."""
    return {
        (task, sample["doc"]["context"]): sample["resps"]
        for task, samples in found["samples"].items()
        for sample in samples
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"limit": 2},
        {"samples": {"choice": [2, 1], "bits": [2, 1], "write": [2, 1]}},
        {"samples": {"choice": [1], "bits": [1], "write": [1]}},
        {"use_cache": "answers"},
    ],
    ids=["limit", "samples", "one-sample", "cache"],
)
def test_answers_depend_on_no_other_document(harness, evaluate, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)  # the cache's name is a path's beginning
    sampled = {"gen_kwargs": "do_sample=true,temperature=0.9"}
    everything = answers_of(evaluate(harness(num_samples=3), **sampled))
    for _ in range(2):  # the second time from the cache, where there is one
        some = answers_of(evaluate(harness(num_samples=3), **sampled, **options))
        assert some and some.items() <= everything.items()


@pytest.mark.slow
def test_settings_of_the_command_line_reach_generate(harness, evaluate, monkeypatch):
    h = harness()
    seen = []
    original = h.model.generate

    def watched(ids, *args, **settings):
        masks = (ids == h.model.config.mask_token_id).sum(1).tolist()
        seen.append({**settings, "masks": masks})
        return original(ids, *args, **settings)

    monkeypatch.setattr(h.model, "generate", watched)
    evaluate(h, gen_kwargs="do_sample=true,temperature=0.5,order=left_to_right,max_gen_toks=2")
    asked = [s for s in seen if s.get("temperature") == 0.5]
    assert len(asked) == len(CONTEXTS)
    assert {(s["order"], *s["masks"]) for s in asked} == {("left_to_right", 2)}
    with pytest.raises(ValueError, match="temprature"):
        evaluate(harness(), gen_kwargs="do_sample=true,temprature=0.5")


@pytest.mark.slow
def test_a_chat_template_makes_the_context(harness, evaluate, tokenizer, monkeypatch):
    monkeypatch.setattr(
        tokenizer, "chat_template", "{% for m in messages %}a{{ m['content'] }}b{% endfor %}c"
    )
    found = evaluate(harness(num_samples=2), apply_chat_template=True)
    (first, *_) = found["samples"]["choice"]
    assert first["arguments"][0][0] == f"a{first['doc']['context']}bc"
    monkeypatch.setattr(tokenizer, "chat_template", None)
    with pytest.raises(ValueError, match="chat_template"):
        evaluate(harness(num_samples=2), apply_chat_template=True)


@pytest.mark.slow
def test_the_harness_evaluates_all_kinds_of_tasks(harness, evaluate):
    h = harness(order="left_to_right", batch_size=2)
    answers = [best_option(h, context) for context in CONTEXTS]
    answers[2] = (answers[2] + 1) % 3  # one is wrong
    found = evaluate(h, answers)
    results = found["results"]
    assert results["choice"]["acc,none"] == pytest.approx(2 / 3)
    rolled = h.loglikelihood_rolling(requests("loglikelihood_rolling", *[(c,) for c in CONTEXTS]))
    bits = -sum(rolled) / math.log(2) / len("".join(CONTEXTS))
    assert results["bits"]["bits_per_byte,none"] == pytest.approx(bits)
    for sample in found["samples"]["write"]:
        asked = (sample["doc"]["context"], {"until": [" "], "max_gen_toks": 3})
        assert sample["resps"] == [h.generate_until(requests("generate_until", asked))]
