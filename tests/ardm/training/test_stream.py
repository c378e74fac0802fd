"""The stream of numbered examples: the same on any number of processes, from any point on."""

import itertools

import datasets
import pytest
import torch
from torch.utils.data import IterableDataset, Subset, TensorDataset, default_collate

from ardm.training import Batch
from ardm.training.stream import example_loader, micro_batch_numbers

NUM = 10
SEED = 3


class Stream(IterableDataset):
    def __iter__(self):
        yield from ({"x": torch.tensor(index)} for index in range(NUM))


DATASETS = {
    "list": [{"x": torch.tensor(index)} for index in range(NUM)],
    "datasets": datasets.Dataset.from_dict({"x": list(range(NUM))}).with_format("torch"),
    "subset": Subset([{"x": torch.tensor(index)} for index in range(2 * NUM)], range(NUM)),
    "stream": Stream(),
    "datasets stream": datasets.Dataset.from_dict({"x": list(range(NUM))}).to_iterable_dataset(),
}


def read(
    dataset,
    num_micro_batches,
    *,
    batch_size=2,
    first_example=0,
    process_index=0,
    num_processes=1,
    seed=SEED,
    **more,
):
    """(index in the data set, number of the example) of the first micro-batches."""
    loader = example_loader(
        dataset,
        default_collate,
        batch_size=batch_size,
        first_example=first_example,
        seed=seed,
        process_index=process_index,
        num_processes=num_processes,
        **more,
    )
    pairs = []
    for values, numbers in itertools.islice(loader, num_micro_batches):
        assert numbers.dtype == torch.int64 and numbers.shape == (batch_size,)
        pairs += zip(values["x"].tolist(), numbers.tolist(), strict=True)
    return pairs


@pytest.mark.parametrize("num_processes", [1, 2, 3])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_step_takes_the_next_global_batch_on_any_number_of_processes(num_processes, accumulation):
    size = 4 * accumulation * num_processes
    streams = [
        micro_batch_numbers(4, 7 * size, index, num_processes) for index in range(num_processes)
    ]
    for step in range(7, 12):
        micro_batches = [m for stream in streams for m in itertools.islice(stream, accumulation)]
        numbers = itertools.chain(*micro_batches)
        assert sorted(numbers) == list(range(step * size, (step + 1) * size))


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("num_processes", [1, 2])
def test_the_numbered_examples_do_not_depend_on_the_processes_or_the_start(name, num_processes):
    whole = {number: index for index, number in read(DATASETS[name], 20)}
    assert sorted(whole) == list(range(40))
    for first in (0, 12):
        for process in range(num_processes):
            place = {"process_index": process, "num_processes": num_processes}
            part = read(DATASETS[name], 5, first_example=first, **place)
            assert len(part) == 10
            assert all(whole[number] == index for index, number in part)


@pytest.mark.parametrize("name", DATASETS)
def test_each_epoch_holds_every_example_once(name):
    indices = [index for index, _ in read(DATASETS[name], 4 * NUM // 2)]
    epochs = [indices[start : start + NUM] for start in range(0, 4 * NUM, NUM)]
    assert all(sorted(epoch) == list(range(NUM)) for epoch in epochs)
    if "stream" in name:
        assert all(epoch == list(range(NUM)) for epoch in epochs)
    else:
        assert len(set(map(tuple, epochs))) == 4


def test_permutations_depend_on_the_seed_and_start_nowhere_special():
    first = [read(DATASETS["list"], 5, seed=seed) for seed in range(20)]
    assert len(set(map(tuple, first))) == 20
    starts = [epoch[0][0] for epoch in first]
    assert len(set(starts)) >= 6  # of 10; fewer has probability 0.002


def test_a_data_set_smaller_than_the_batch():
    pairs = read(DATASETS["list"][:3], 3, batch_size=4)
    indices = [index for index, _ in pairs]
    assert all(sorted(indices[start : start + 3]) == [0, 1, 2] for start in range(0, 12, 3))


def test_one_read_of_the_data_set_for_a_batch():
    class Batched:
        def __init__(self):
            self.calls = []

        def __len__(self):
            return NUM

        def __getitem__(self, index):
            raise AssertionError("one by one")

        def __getitems__(self, indices):
            self.calls.append(indices)
            return [{"x": torch.tensor(index)} for index in indices]

    dataset = Batched()
    assert [index for index, _ in read(dataset, 2)] == [*dataset.calls[0], *dataset.calls[1]]


@pytest.mark.parametrize("name", ["list", "stream"])
def test_a_loading_process_changes_nothing(name):
    alone = read(DATASETS[name], 5, first_example=4)
    assert read(DATASETS[name], 5, num_workers=1, first_example=4) == alone


@pytest.mark.parametrize("num_workers", [0, 1])
def test_torchs_own_generator_is_not_touched(num_workers):
    before = torch.get_rng_state()
    read(DATASETS["list"], 3, num_workers=num_workers)
    assert torch.equal(before, torch.get_rng_state())


def test_bad_input():
    with pytest.raises(ValueError, match="collate_fn returned a list; expected a dict"):
        read(TensorDataset(torch.zeros(3, 1)), 1)
    with pytest.raises(ValueError, match="empty; expected at least one example"):
        read((example for example in ()), 1)
    with pytest.raises(ValueError, match=r"dataloader_num_workers is 2; .* at most 1 worker"):
        read(Stream(), 1, num_workers=2)


def test_permutations_are_those_of_runs_that_began_earlier():
    """A resumed run must find its data in the order in which it began to read it."""
    indices = [index for index, _ in read(DATASETS["list"], 10)]
    for epoch in (0, 1):
        generator = torch.Generator().manual_seed(SEED * 1_000_003 + epoch)
        expected = torch.randperm(NUM, generator=generator).tolist()
        assert indices[epoch * NUM : (epoch + 1) * NUM] == expected


def test_a_batch_is_a_dict_that_knows_its_numbers():
    batch = Batch({"x": 1}, torch.arange(3), 8, 0.5)
    assert batch == {"x": 1} and dict(**batch) == {"x": 1}
    assert torch.equal(batch.example_numbers, torch.arange(3))
    assert (batch.global_batch_size, batch.progress) == (8, 0.5)
