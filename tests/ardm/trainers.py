"""A small Trainer with our collator, and ones that remember what batches they made or got."""

from torch.utils.data import IterableDataset, get_worker_info
from transformers import Trainer, TrainingArguments

from ardm import RandomRatioCollator
from ardm.trainer_calls import trainer_call

from .rows import MASK, PAD

ROWS = [[0, 1, 2], [2, 2, 1, 0, 0, 1], [1], [0, 2, 1, 1], [2, 0], [1, 0, 2, 2, 1], [0, 0, 1]]
EXAMPLES = [{"input_ids": row} for row in ROWS]
SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


class Recording(RandomRatioCollator):
    """Keeps the batches that it makes, with the call that each was made for."""

    def __init__(self):
        super().__init__(MASK, PAD)
        self.batches = []

    def __call__(self, examples):
        batch = super().__call__(examples)
        self.batches.append((trainer_call(), batch))
        return batch

    def masks(self):
        return [batch["input_ids"].tolist() for _, batch in self.batches]


class Stream(IterableDataset):
    """Examples one by one; each worker of a loader reads its share."""

    def __init__(self, examples):
        self.examples = examples

    def __iter__(self):
        worker = get_worker_info()
        start, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return iter(self.examples[start::step])


class CountedStream(Stream):
    def __len__(self):
        return len(self.examples)


class Watching(Trainer):
    """Keeps the masked ids that it trains on, and those of each evaluation."""

    def train(self, *args, **kwargs):
        self.trained = []
        return super().train(*args, **kwargs)

    def evaluate(self, *args, **kwargs):
        self.evaluated = []
        return super().evaluate(*args, **kwargs)

    def training_step(self, model, inputs, *args):
        self.trained.append(inputs["input_ids"].tolist())
        return super().training_step(model, inputs, *args)

    def prediction_step(self, model, inputs, *args, **kwargs):
        self.evaluated.append(inputs["input_ids"].tolist())
        return super().prediction_step(model, inputs, *args, **kwargs)


def trainer_of(
    model,
    folder,
    collator=None,
    rows=EXAMPLES,
    metrics=None,
    hook=None,
    trainer_class=Trainer,
    **arguments,
):
    settings = {
        "report_to": "none",
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 3,
        "dataloader_pin_memory": False,
        "logging_steps": 1,
    } | arguments
    return trainer_class(
        model,
        TrainingArguments(str(folder), **settings),
        data_collator=collator or RandomRatioCollator(MASK, PAD),
        train_dataset=rows,
        eval_dataset=rows,
        compute_metrics=metrics,
        preprocess_logits_for_metrics=hook,
    )
