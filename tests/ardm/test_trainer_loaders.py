"""With any data loader of Trainer's, seed, epoch and rows alone decide the masks."""

import gc
import pickle
from itertools import chain
from types import SimpleNamespace

import pytest
import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from torch.utils.data._utils import worker

from ardm import RandomRatioCollator

from .rows import MASK, PAD
from .trainers import CountedStream, Recording, Stream, Watching, trainer_of

LENGTH = 32
_DIGITS = torch.rand(16, LENGTH, generator=torch.Generator().manual_seed(0))
MANY = [{"input_ids": row} for row in (_DIGITS * 3).long().tolist()]
EXAMPLES = MANY[:4]
DATA = {"list": list, "stream": Stream, "counted": CountedStream}
PERSISTENT = {"dataloader_num_workers": 2, "dataloader_persistent_workers": True}
ONE_ROW = {"per_device_train_batch_size": 1, "per_device_eval_batch_size": 1}
THREE_EPOCHS = ONE_ROW | {"max_steps": 12, "seed": 5}


@pytest.fixture(autouse=True, scope="module")
def short_collections():
    """Trainer collects garbage at each start; all that is loaded already need not be searched."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def watched(tiny_model, tmp_path):
    """(data, collator, settings) -> a Trainer that tells what it was given."""

    def make(data, collator=None, trainer_class=Watching, **settings):
        ids = {"mask_token_id": MASK, "pad_token_id": PAD}
        model = tiny_model(vocab_size=5, max_position_embeddings=LENGTH, **ids)
        return trainer_of(model, tmp_path, collator, data, trainer_class=trainer_class, **settings)

    return make


def epochs(trainer):
    """The masked rows of each of three epochs, in any order."""
    rows = list(chain.from_iterable(trainer.trained))
    assert len(rows) == 12
    return [sorted(rows[i : i + 4]) for i in (0, 4, 8)]


def differ(batches):
    """No row is masked twice in the same way, but for rows that are masked wholly."""
    rows = [str(row) for batch in batches for row in batch if set(row) != {MASK}]
    return len(set(rows)) == len(rows)


# ------------------------------------------------------------------------------- epochs and workers
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_draw_the_masks_of_one_process(watched, data, persistent):
    found = []
    for workers in (0, 2):
        loader = {"dataloader_num_workers": workers}
        loader["dataloader_persistent_workers"] = persistent and workers > 0
        trainer = watched(DATA[data](EXAMPLES), **THREE_EPOCHS, **loader)
        trainer.train()
        assert differ(epochs(trainer))
        trainer.evaluate()
        first = trainer.evaluated
        trainer.evaluate()
        assert trainer.evaluated == first
        found.append((epochs(trainer), first))
    assert found[0] == found[1]


@pytest.mark.slow  # a worker that is started anew imports everything
@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_workers_that_are_started_anew_draw_the_masks_of_one_process(watched, start):
    found = []
    for settings in ({}, PERSISTENT | {"dataloader_multiprocessing_context": start}):
        trainer = watched(CountedStream(EXAMPLES), **THREE_EPOCHS, **settings)
        trainer.train()
        assert differ(epochs(trainer))
        trainer.evaluate()
        found.append((epochs(trainer), trainer.evaluated))
    assert found[0] == found[1]


class Sending(Watching):
    """Pickles its collator for each batch, as for a worker that is started anew."""

    def training_step(self, *args):
        self.trained.append(pickle.dumps(self.data_collator))
        return super().training_step(*args)

    def prediction_step(self, *args, **kwargs):
        self.evaluated.append(pickle.dumps(self.data_collator))
        return super().prediction_step(*args, **kwargs)


def test_a_worker_that_is_started_anew_is_told_who_started_it(watched, monkeypatch):
    trainer = watched(Stream(EXAMPLES), trainer_class=Sending, **THREE_EPOCHS)
    trainer.train()
    trainer.evaluate()
    seen = trainer.trained + trainer.evaluated
    info = SimpleNamespace(id=0, num_workers=1)
    assert len(seen) == 32
    for index in range(16):
        copy = pickle.loads(seen[2 * index])
        outside = copy([EXAMPLES[index % 4]])
        monkeypatch.setattr(worker, "_worker_info", info)
        inside = copy([EXAMPLES[index % 4]])
        monkeypatch.setattr(worker, "_worker_info", None)
        assert [inside["input_ids"].tolist()[0]] == seen[2 * index + 1]
        assert "logits_positions" in outside  # elsewhere a copy belongs to no evaluation
        assert ("logits_positions" in inside) == (index < 12)


@pytest.mark.parametrize(
    ("data", "workers"),
    [("list", {}), ("stream", {}), ("stream", PERSISTENT), ("counted", PERSISTENT)],
    ids=["list", "stream", "stream-persistent", "counted-persistent"],
)
def test_a_run_resumed_within_an_epoch_sees_the_same(watched, tmp_path, data, workers):
    saved = 1 if data == "stream" else 3  # without a length Trainer knows of the first epoch alone
    settings = THREE_EPOCHS | workers | {"save_strategy": "steps", "save_steps": saved}
    settings |= {"gradient_accumulation_steps": 2, "max_steps": 6}
    whole = watched(DATA[data](EXAMPLES), **settings)
    whole.train()
    rest = watched(DATA[data](EXAMPLES), **settings)
    rest.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{saved}"))
    assert rest.trained == whole.trained[saved * 2 :]


def test_a_run_that_would_repeat_epochs_is_not_resumed(watched, tmp_path):
    settings = THREE_EPOCHS | {"save_strategy": "steps", "save_steps": 5}
    watched(Stream(EXAMPLES), **settings).train()
    for skip in (False, True):
        rest = watched(Stream(EXAMPLES), **settings, ignore_data_skip=skip)
        with pytest.raises(ValueError, match=r"epoch 0.*epoch 1\.08.*__len__"):
            rest.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
        assert not rest.trained


@pytest.mark.parametrize("workers", [0, 2])
def test_a_generator_in_workers_masks_each_epoch_anew(workers):
    collator = RandomRatioCollator(MASK, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(EXAMPLES, num_workers=workers, collate_fn=collator)
    assert differ(batch["input_ids"].tolist() for _ in range(3) for batch in loader)


# ------------------------------------------------------------------------------ users' own classes
class Wrapped:
    """Somebody's collator around ours."""

    def __init__(self, collator):
        self.collator = collator

    def __call__(self, examples):
        return dict(self.collator(list(examples)))


class OwnLoader(Watching):
    """Prepares nothing with Accelerate."""

    def get_train_dataloader(self):
        return DataLoader(
            self.train_dataset,
            batch_size=1,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            persistent_workers=self.args.dataloader_persistent_workers,
        )


class OwnLoop(Watching):
    """Evaluates without Trainer's loop."""

    def evaluate(self):
        loader = self.get_eval_dataloader()
        self.evaluated = [batch["input_ids"].tolist() for batch in loader]


class OwnMasks(Watching):
    """Asks for other masks of the batch in the step."""

    def training_step(self, model, inputs, *args):
        examples = [{"input_ids": row} for row in inputs["labels"].tolist()]
        return super().training_step(model, self.data_collator(examples), *args)


@pytest.mark.parametrize("trainer_class", [OwnLoader, OwnLoop, OwnMasks])
def test_subclasses_and_wrapped_collators_get_the_same(watched, trainer_class):
    found = []
    collator = RandomRatioCollator(MASK, PAD)
    for kind, given in ((Watching, collator), (trainer_class, Wrapped(collator))):
        trainer = watched(CountedStream(EXAMPLES), given, kind, **THREE_EPOCHS, **PERSISTENT)
        trainer.evaluate()
        before = trainer.evaluated
        trainer.train()
        trainer.evaluate()
        assert trainer.evaluated == before
        found.append((epochs(trainer), before))
    assert found[0] == found[1]


def test_the_innermost_call_counts(watched):
    """A Trainer trains within another one's evaluation, and evaluates within its training."""

    class Nested(Watching):
        def prediction_step(self, *args, **kwargs):
            if not self.evaluated:
                inner.train()
            return super().prediction_step(*args, **kwargs)

    collator = Recording()
    settings = ONE_ROW | {"max_steps": 4, "eval_strategy": "steps", "eval_steps": 2}
    inner = watched(EXAMPLES, collator, **settings)
    watched(EXAMPLES, trainer_class=Nested, **ONE_ROW).evaluate()
    asked = [call.evaluating for call, _ in collator.batches]
    assert asked.count(True) == 8 and asked.count(False) == 4


# ------------------------------------------------------------------------------------------- ranks
def loader_of_rank(rank, size, dispatch, workers, split=False):
    """A Trainer's class with what Accelerate makes of its loader on one of several processes."""

    class OfRank(Watching):
        def get_train_dataloader(self):
            rows = self.args.per_device_train_batch_size * (size if split else 1)
            loader = DataLoader(
                self.train_dataset,
                batch_size=rows,
                collate_fn=self.data_collator,
                num_workers=workers,
            )
            loader = prepare_data_loader(
                loader,
                torch.device("cpu"),
                size,
                rank,
                split_batches=split,
                put_on_device=True,
                dispatch_batches=dispatch,
                slice_fn_for_dispatch=lambda batch, *_, **__: batch,  # of all processes
            )
            if dispatch:
                loader.state = SimpleNamespace(
                    num_processes=size, process_index=rank, device=torch.device("cpu")
                )
            return loader

    return OfRank


def stratified(rows, strata):
    """LENGTH counts: the i-th smallest of the rows lies in stratum i."""
    counts = (torch.tensor(rows) == MASK).sum(1).sort().values
    places = torch.arange(strata)
    low = 1 + places * LENGTH // strata
    high = 1 + ((places + 1) * LENGTH - 1) // strata
    return len(counts) == strata and bool(((counts >= low) & (counts <= high)).all())


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("size", "rows"), [(2, 1), (4, 2)])
def test_process_0_draws_the_masks_of_all_if_it_reads_for_all(
    watched, monkeypatch, workers, size, rows
):
    steps = 2 * len(MANY) // (size * rows)

    def trained(rank, **changes):
        trainer_class = loader_of_rank(rank, size, **({"workers": 0} | changes))
        settings = {"per_device_train_batch_size": rows, "max_steps": steps}
        trainer = watched(Stream(MANY), trainer_class=trainer_class, **settings)
        monkeypatch.setenv("WORLD_SIZE", str(size))
        monkeypatch.setenv("RANK", str(rank))
        trainer.train()
        monkeypatch.undo()
        assert len(trainer.trained) == steps
        return trainer.trained

    at_once = trained(0, dispatch=True, workers=workers)
    assert all(stratified(batch, size * rows) for batch in at_once)
    assert differ(at_once)
    if not workers:  # they would read other rows together
        each = [trained(rank, dispatch=False) for rank in range(size)]
        assert at_once == [list(chain(*batches)) for batches in zip(*each, strict=True)]
    split = trained(0, dispatch=True, workers=workers, split=True)
    assert all(stratified(batch, size * rows) for batch in split)
    assert differ(split)
