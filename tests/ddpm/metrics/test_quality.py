"""Figures are those of the distances; who saw which image, when, in which batch changes nothing."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ddpm.metrics import quality
from ddpm.metrics.distances import frechet_distance, kernel_distance, precision_recall
from ddpm.metrics.features import FeatureExtractor
from ddpm.metrics.quality import ImageQuality, ImageQualityEvaluation

JOB = Path(__file__).parent / "metrics_job.py"
NAMES = {field.name for field in dataclasses.fields(ImageQuality)}


def pixels(images):
    return images.flatten(1), images.flatten(1)[:, :3].softmax(1)


def only_features(images):
    return images.flatten(1)


def draw(count, seed=0, shift=0.0):
    made = torch.randn(count, 1, 2, 3, generator=torch.Generator().manual_seed(seed))
    return (0.3 * made + shift).clamp(-1, 1)


def score(reference, samples, extractor=pixels, batches=None, orders=(None, None), **options):
    evaluation = ImageQualityEvaluation(extractor, **options)
    updates = (evaluation.update_reference, evaluation.update)
    for images, update, order in zip((reference, samples), updates, orders, strict=True):
        order = torch.arange(len(images)) if order is None else order
        for numbers in order.split(batches or len(images)):
            update(images[numbers], numbers)
    return evaluation.compute()


REFERENCE = draw(50)
SAMPLES = draw(40, 1, 0.1)


def same(a, b):
    assert a.keys() == b.keys() == NAMES
    for name in a:
        assert a[name] == (
            pytest.approx(b[name], rel=1e-9) if isinstance(b[name], float) else b[name]
        ), name


# -------------------------------------------------------------------------------------- the figures
def test_figures_are_those_of_the_distances_with_what_they_are_about():
    got = score(REFERENCE, SAMPLES, seed=3, kid_subsets=7, kid_subset_size=20, num_neighbours=2)
    x = REFERENCE.flatten(1).double()
    y = SAMPLES.flatten(1).double()
    kid = kernel_distance(x, y, num_subsets=7, subset_size=20, seed=3)
    manifolds = precision_recall(x, y, num_neighbours=2)
    p = SAMPLES.flatten(1)[:, :3].softmax(1).double()
    divergence = (p * (p / p.mean(0)).log()).sum(1).mean()
    expected = ImageQuality(
        fid=frechet_distance(x.mean(0), x.T.cov(), y.mean(0), y.T.cov()),
        kid=kid.value,
        kid_standard_error=kid.standard_error,
        inception_score=float(divergence.exp()),
        precision=manifolds.precision,
        recall=manifolds.recall,
        num_images=40,
        num_reference=50,
        num_kept=None,
        extractor="pixels",
        seed=3,
    )
    same(got.as_dict(), expected.as_dict())
    assert manifolds.precision != manifolds.recall
    json.dumps(got.as_dict())


def test_the_reference_itself_is_perfect():
    got = score(REFERENCE, REFERENCE)
    assert got.fid < 1e-12 and got.precision == got.recall == 1
    assert got.kid <= 0  # unbiased: the same images are nearer than independent ones
    assert score(REFERENCE, draw(40, 1, 0.5)).fid > score(REFERENCE, draw(40, 1, 0.2)).fid > 0.01


@pytest.mark.parametrize("batches", [1, 7, 16, 39])
def test_batches_and_order_change_nothing(batches):
    orders = torch.randperm(50), torch.randperm(40)
    options = {"kid_subsets": 5, "kid_subset_size": 20}
    for kept in (None, 0, 30):
        whole = score(REFERENCE, SAMPLES, max_kept=kept, **options).as_dict()
        same(
            score(
                REFERENCE, SAMPLES, batches=batches, orders=orders, max_kept=kept, **options
            ).as_dict(),
            whole,
        )


def test_images_are_numbered_as_they_come_and_empty_batches_are_none():
    evaluation = ImageQualityEvaluation(pixels, kid_subsets=5, kid_subset_size=20)
    for update, images in ((evaluation.update_reference, REFERENCE), (evaluation.update, SAMPLES)):
        for batch in (images[:3], images[:0], images[3:36], images[36:]):
            update(batch)
    same(
        evaluation.compute().as_dict(),
        score(REFERENCE, SAMPLES, kid_subsets=5, kid_subset_size=20).as_dict(),
    )


def test_the_seed_chooses_the_subsets_of_kid_alone():
    one, two = (
        score(REFERENCE, SAMPLES, seed=s, kid_subsets=5, kid_subset_size=20) for s in (0, 1)
    )
    assert one.kid != two.kid and (one.seed, two.seed) == (0, 1)
    same(
        one.as_dict() | {"kid": 0, "kid_standard_error": 0, "seed": 0},
        two.as_dict() | {"kid": 0, "kid_standard_error": 0, "seed": 0},
    )


def test_only_the_first_images_are_kept_for_what_needs_the_features():
    whole, part, none = (
        score(REFERENCE, SAMPLES, max_kept=kept, kid_subsets=None) for kept in (None, 20, 0)
    )
    assert part.fid == whole.fid == none.fid and part.num_kept == 20 and part.num_images == 40
    first = score(REFERENCE[:20], SAMPLES[:20], kid_subsets=None)
    assert (part.kid, part.precision, part.recall) == (first.kid, first.precision, first.recall)
    assert none.kid is none.kid_standard_error is none.precision is none.recall is None
    assert none.inception_score == whole.inception_score


def test_without_probabilities_there_is_no_inception_score():
    got = score(REFERENCE, SAMPLES, extractor=only_features)
    assert got.inception_score is None and got.extractor == "only_features"
    assert got.fid == pytest.approx(score(REFERENCE, SAMPLES).fid)


def test_resetting_forgets_the_samples_alone_and_computing_forgets_nothing():
    evaluation = ImageQualityEvaluation(pixels)
    evaluation.update_reference(REFERENCE)
    evaluation.update(SAMPLES)
    first = evaluation.compute()
    assert evaluation.compute() == first
    evaluation.reset()
    evaluation.update(draw(30, 7))
    same(evaluation.compute().as_dict(), score(REFERENCE, draw(30, 7)).as_dict())


# --------------------------------------------------------------------------------------- extractors
def test_a_path_loads_inception(monkeypatch):
    monkeypatch.setattr(
        quality, "load_inception", lambda path: FeatureExtractor(f"from {path}", pixels)
    )
    for path in ("weights.pth", Path("weights.pth")):
        assert ImageQualityEvaluation(path).extractor.name == "from weights.pth"
    monkeypatch.undo()
    with pytest.raises(ValueError, match="there is no file"):
        ImageQualityEvaluation("missing.pth")


def test_a_classifier_tells_real_images_from_mirrored_ones_and_from_one_class(
    digits, digits_classifier
):
    order = torch.randperm(len(digits[0]))  # the data set goes writer by writer
    images, labels = (x[order] for x in digits)
    model = digits_classifier
    real = score(images[:400], images[400:800], model)
    mirrored = score(images[:400], images[400:800].flip(3), model)
    one_class = score(images[:400], images[labels == 0][:150], model)
    assert real.extractor.startswith("SmallClassifier of digits (1437 images")
    assert 10 * real.fid < min(mirrored.fid, one_class.fid) and 10 * real.kid < mirrored.kid
    assert real.precision > 0.5 and real.recall > 0.5 and one_class.recall < 0.3
    assert one_class.inception_score < 1.5 < 5 < real.inception_score <= 10


# ---------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_neighbours": 0}, "num_neighbours is 0"),
        ({"kid_subsets": 0}, "kid_subsets is 0"),
        ({"kid_subset_size": 1}, "kid_subset_size is 1"),
        ({"max_kept": 3}, "max_kept is 3"),
        ({"max_kept": -1}, "max_kept is -1"),
        ({"extractor": 3}, "extractor is 3"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ImageQualityEvaluation(**({"extractor": pixels} | options))


def test_wrong_images_and_too_few_are_refused():
    evaluation = ImageQualityEvaluation(pixels)
    for update in (evaluation.update, evaluation.update_reference):
        for wrong in (REFERENCE * 127, REFERENCE[0], REFERENCE / 0, REFERENCE.byte()):
            with pytest.raises(ValueError, match="expected"):
                update(wrong)
        with pytest.raises(ValueError, match=r"expected int64 \(50,\)"):
            update(REFERENCE, torch.arange(49))
    with pytest.raises(
        ValueError, match="there are 0 samples and 0 reference images; expected at least 4"
    ):
        evaluation.compute()
    evaluation.update_reference(REFERENCE)
    evaluation.update(SAMPLES[:3])
    with pytest.raises(
        ValueError, match="there are 3 samples and 50 reference images; expected at least 4"
    ):
        evaluation.compute()
    evaluation.update(SAMPLES[:3], torch.arange(3))
    with pytest.raises(ValueError, match="number 0 occurs 2 times"):
        evaluation.compute()


# ---------------------------------------------------------------------------------------- processes
def run_job(path, number):
    root = JOB.parents[3]
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(root),
    }
    launch = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(number)]
        if number > 1
        else []
    )
    subprocess.run(
        [sys.executable, *launch, str(JOB), str(path)],
        env=environment,
        check=True,
        timeout=200,
        cwd=root,
    )
    return [
        json.loads(Path(f"{path}-{r}-of-{number}.json").read_text(encoding="utf-8"))
        for r in range(number)
    ]


@pytest.mark.slow
def test_two_processes_get_the_figures_of_one_however_the_images_are_split(tmp_path):
    ((alone,), both) = (run_job(tmp_path / "figures", number) for number in (1, 2))
    assert both[0] == both[1]  # to the last bit
    expected = alone["halves"]
    assert expected[0]["num_images"] == 47 and not math.isnan(expected[0]["kid_standard_error"])
    assert expected[1]["kid"] is None and expected[2]["kid"] != expected[0]["kid"]
    for split in ("strided", "halves", "main only"):
        for got, figures in zip(both[0][split], expected, strict=True):
            same(got, figures)
