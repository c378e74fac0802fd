"""The stream of numbered examples that a run consumes, the same on any number of processes.

Example k is item k mod N of epoch k div N, in the permutation of (seed, epoch), so that a run may
start at any k. Process p of P takes, of each step's G examples, the micro-batches p, p + P,
p + 2P, ...: Accelerate's own division of a batch sampler.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

Collate: TypeAlias = Callable[[list[Any]], Mapping[str, Any]]
_Numbered: TypeAlias = tuple[int, int]  # index in the data set, number of the example


class MapDataset(Protocol):
    """Examples by their index; it may have `__getitems__` as well, to read many at once."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


TrainDataset: TypeAlias = MapDataset | Iterable[Any]


class Batch(dict[str, Any]):
    """A collated batch, and where it stands in the run.

    Args:
        values: what the collate function made.
        example_numbers: int64 (B,), number of each example since the start of the run.
        global_batch_size: examples of one optimiser step over all processes.
        progress: share of the run that is done, in [0, 1).
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        example_numbers: Tensor,
        global_batch_size: int,
        progress: float,
    ):
        super().__init__(values)
        self.example_numbers = example_numbers
        self.global_batch_size = global_batch_size
        self.progress = progress


def example_loader(
    dataset: TrainDataset,
    collate_fn: Collate,
    *,
    batch_size: int,
    first_example: int,
    seed: int,
    process_index: int,
    num_processes: int,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader:
    """An endless loader of this process's micro-batches from example `first_example` on.

    Args:
        dataset: map-style, or iterable: read from its start at each epoch and after a resume.
        collate_fn: examples -> dict.
        batch_size: examples of one micro-batch of one process.
        first_example: number of the first one, a multiple of `batch_size * num_processes`.
        seed: key of the permutations.
        process_index: this process.
        num_processes: of how many.
        num_workers: loading processes.
        pin_memory: page-locked memory for faster copies to a GPU.

    Returns:
        A loader of (collated dict, int64 (B,) example numbers).

    Raises:
        ValueError: if a stream is to be read by several workers; later, if it is empty or
            `collate_fn` makes no dict.
    """
    common: dict[str, Any] = {
        "collate_fn": _Collate(collate_fn),
        "num_workers": num_workers,
        "pin_memory": pin_memory,
        # Its own: starting a loader draws from torch's global generator, and dropout after a
        # resume would differ.
        "generator": torch.Generator().manual_seed(seed),
    }
    place = (batch_size, first_example, process_index, num_processes)
    if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
        if num_workers > 1:
            raise ValueError(
                f"dataloader_num_workers is {num_workers}; a stream is read by at most 1 worker."
            )
        return DataLoader(_NumberedStream(dataset, *place), batch_size=batch_size, **common)
    items = _NumberedItems(dataset)
    batches = _Batches(len(dataset), seed, *place)
    return DataLoader(items, batch_sampler=batches, **common)


class _Collate:
    """Collates examples and keeps their numbers; a class, as workers that are spawned pickle it."""

    def __init__(self, collate_fn: Collate):
        self.collate_fn = collate_fn

    def __call__(self, pairs: list[tuple[Any, int]]) -> tuple[dict[str, Any], Tensor]:
        examples, numbers = zip(*pairs, strict=True)
        values = self.collate_fn(list(examples))
        if not isinstance(values, Mapping):
            raise ValueError(
                f"collate_fn returned a {type(values).__name__}; expected a dict of tensors."
            )
        return dict(values), torch.tensor(numbers)


def micro_batch_numbers(
    batch_size: int, first_example: int, process_index: int, num_processes: int
) -> Iterator[range]:
    """The example numbers of this process's micro-batches, for ever."""
    start = first_example + process_index * batch_size
    while True:
        yield range(start, start + batch_size)
        start += num_processes * batch_size


class _Batches(Sampler[list[_Numbered]]):
    """Which examples make which micro-batch."""

    def __init__(self, num_examples: int, seed: int, *place: int):
        self.num_examples = num_examples
        self.seed = seed
        self.place = place
        self.epoch = -1
        self.permutation = torch.empty(0, dtype=torch.long)

    def __iter__(self) -> Iterator[list[_Numbered]]:
        for numbers in micro_batch_numbers(*self.place):
            yield [(self._index(number), number) for number in numbers]

    def _index(self, number: int) -> int:
        epoch, place = divmod(number, self.num_examples)
        if self.epoch != epoch:
            # Not `key_seed`: runs that were begun with this seed must find their data in the same
            # order when they are resumed.
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
            self.permutation = torch.randperm(self.num_examples, generator=generator)
            self.epoch = epoch
        return int(self.permutation[place])


class _NumberedItems(Dataset):
    """The examples of a map-style data set with their numbers."""

    def __init__(self, dataset: MapDataset):
        self.dataset = dataset

    def __getitems__(self, keys: list[_Numbered]) -> list[tuple[Any, int]]:
        indices, numbers = zip(*keys, strict=True)
        if hasattr(self.dataset, "__getitems__"):  # one read of `datasets.Dataset` for the batch
            examples = self.dataset.__getitems__(list(indices))
        else:
            examples = [self.dataset[index] for index in indices]
        return list(zip(examples, numbers, strict=True))


class _NumberedStream(IterableDataset):
    """This process's examples of a stream: each process reads all, which is exact, and its price.

    Args:
        dataset: gone through again and again.
        *place: as for [`micro_batch_numbers`].
    """

    def __init__(self, dataset: Iterable[Any], *place: int):
        self.dataset = dataset
        self.place = place

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        examples = enumerate(self._forever())
        for numbers in micro_batch_numbers(*self.place):
            for wanted in numbers:
                yield next(example for number, example in examples if number == wanted), wanted

    def _forever(self) -> Iterator[Any]:
        while True:
            empty = True
            for example in self.dataset:
                empty = False
                yield example
            if empty:
                raise ValueError("the streamed data set is empty; expected at least one example.")
