"""Trains a model of proteins (or DNA, RNA), scores it, saves it, and shows what it fills in.

    accelerate launch recipes/train_ardm_proteins.py       # synthetic proteins of a known law
    accelerate launch recipes/train_ardm_proteins.py --train_file my.fasta --sequence_length 256
    accelerate launch recipes/train_ardm_proteins.py --num_stages 3    # classes of residues first

FASTA, packed or not: sequences of any length, marked at their ends and padded on the right; longer
ones are cut into rows. The length is given to the model, and what it costs itself is told beside.
With no argument: one CPU core, 2.3 minutes, 3.14 bits per residue of held-out sequences, of which
the law itself needs 3.06. The same command again resumes a stopped run.
"""

import argparse

from transformers import PreTrainedTokenizerBase

from ardm import ARDMForMaskedLM
from ardm.data import corpus_from
from ardm.data.fasta import SYNTHETIC, Sequences, load_sequences
from ardm.data.residues import residue_tokenizer
from ardm.data.sequence_rows import make_rows, told_rows
from ardm.data.synthetic_proteins import synthetic_nats
from ardm.evaluation import (
    BoundEvaluation,
    arguments,
    new_model,
    protein_arguments,
    run_facts,
    run_identity,
    tracked_settings,
)
from ardm.evaluation.ragged_bound import RecordFigures, bits_by_law
from ardm.evaluation.sequence_samples import spread_rows, write_sequences
from ardm.hub import CardFigures, Evaluation, load_folder, save_folder
from ardm.objective import RandomRatioObjective
from ardm.training import (
    TrainingResult,
    add_training_arguments,
    begin,
    muon_adamw,
    recipe_parser,
    run_recipe,
    train,
    training_config,
    upload_folder,
)

DEFAULTS = {
    "output_dir": "runs/proteins",
    "max_train_steps": 200,
    "per_device_train_batch_size": 32,
    "learning_rate": 1e-2,
    "eval_steps": 50,
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = recipe_parser(__doc__)
    protein_arguments.add_protein_arguments(parser)
    add_training_arguments(parser, **DEFAULTS)
    return protein_arguments.parse(parser, argv)


def report(
    args: argparse.Namespace,
    name: str,
    model: ARDMForMaskedLM,
    tokenizer: PreTrainedTokenizerBase,
    figures: RecordFigures,
    written: dict[str, list[str]],
    result: TrainingResult,
) -> None:
    bits = {"bits per token": figures.given_lengths}
    card = CardFigures(
        **run_facts(args, name, model, result),
        sequence_length=args.sequence_length,
        limitations=protein_arguments.LIMITATIONS,
        samples=written["samples"],
        infilled=written["infilled"] + written["between flanks"],
        evaluation=Evaluation.of(f"held-out records of {name}", figures.num_rows, bits),
    )
    save_folder(args.output_dir, model, tokenizer, card, result.history)
    for kind, texts in written.items():
        print(f"\n--- {kind}", *texts, sep="\n")
    print("\nSamples are generated as a whole, in others what is in [[ ]].")
    print(f"{figures}\nSaved in {args.output_dir}.")
    if args.push_to_hub:
        print("Uploaded to", upload_folder(args.output_dir, args.hub_model_id))


def tell_law(name: str, sequences: Sequences) -> None:
    if name == SYNTHETIC:
        bits = bits_by_law(synthetic_nats(sequences.texts), sequences)
        print(f"The law of the data itself needs {bits:.3f} bits per residue.")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = training_config(args)
    accelerator = begin(config)
    saved = load_folder(args.model_name_or_path) if args.model_name_or_path else None
    if saved:
        protein_arguments.take_over(args, *saved)
    corpus = corpus_from(args)
    with accelerator.main_process_first():  # one process fills the data cache, the others read it
        data = load_sequences(corpus, args.alphabet, args.unknown_residues)
    name = protein_arguments.data_name(corpus)
    length = args.sequence_length
    tokenizer = saved[1] if saved else residue_tokenizer(data["train"].kind, length)
    rows = {part: make_rows(data[part], tokenizer, length, args.longer) for part in data}
    if accelerator.is_main_process:
        print(*(f"{part}: {told_rows(data[part], length)}." for part in data), sep="\n")
    network = {} if saved else protein_arguments.network_settings(args, tokenizer)
    model = saved[0].float() if saved else new_model(tokenizer, length, args.seed, **network)
    evaluate = BoundEvaluation(rows["validation"], args.max_eval_windows, seed=config.seed)
    settings = {name: getattr(args, name) for name in arguments.OBJECTIVE}
    objective = RandomRatioObjective(tokenizer.mask_token_id, config.seed, **settings)
    optimizer = muon_adamw(model, config.learning_rate, muon_learning_rate=args.muon_learning_rate)
    templates = spread_rows(rows["train"], args.num_samples)
    shown = evaluate.input_ids[len(evaluate) // 2]
    result = train(
        model,
        objective,
        rows["train"],
        config=config,
        eval_fn=evaluate,
        optimizer=optimizer,
        accelerator=accelerator,
        identity=run_identity(rows["train"], tokenizer, model, settings, fresh=not saved),
        settings=tracked_settings(args, name, model),
        samples_fn=lambda model: write_sequences(model, tokenizer, templates, shown, args.seed),
        units_per_example={"residues": len(data["train"].ids_N) / len(rows["train"])},
    )
    nats = evaluate.nats(model, num_samples=8 * model.config.num_stages)
    if accelerator.is_main_process:
        records = rows["validation"]["record"][: len(evaluate)]
        figures = RecordFigures.of(nats, evaluate.num_tokens, records, data)
        written = write_sequences(model, tokenizer, templates, shown, args.seed)
        report(args, name, model, tokenizer, figures, written, result)
        tell_law(name, data["validation"])
    accelerator.end_training()


if __name__ == "__main__":
    run_recipe(main)
