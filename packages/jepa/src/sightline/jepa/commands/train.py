"""`sightline-jepa train`: own data -> vectors -> model -> answerer, in one folder; --resume goes on after a stop.

Where the encoder may be tuned, the same is done on the vectors of the tuned one, and validation keeps one of the two.
What is kept is trained anew without each fold of the training questions, whose answers then tell when to trust one.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sightline.jepa.asking.answerer import Answerer
from sightline.jepa.asking.encoders import HASHED_TERMS, TextEncoder, TunedEncoder, encoded, open_encoder
from sightline.jepa.asking.fitting import HeldOut, validation_groups
from sightline.jepa.commands.report import write_validation_report
from sightline.jepa.commands.tracking import open_tracker
from sightline.jepa.commands.training import UNTUNED_FOLDS, check_folds, hold_out_folds, train_model
from sightline.jepa.commands.tuning import LEAST_PAIRS, TuningChoice, check_choice, is_tuned, tuned_encoder
from sightline.jepa.config import JEPAConfig
from sightline.jepa.data.building import build_dataset
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.stored import read_dataset, write_dataset
from sightline.jepa.explaining.decisions import Threshold
from sightline.jepa.files import atomic_file
from sightline.jepa.models.model import JEPAModel
from sightline.jepa.own_data.reading import OwnData, read_own_data
from sightline.jepa.ranking.fusion import SharedWords
from sightline.jepa.training import TrainingResult

logger = logging.getLogger(__name__)

_RUN: Final = "run.json"
_TUNED: Final = "tuned"
_LARGEST_BATCH: Final = 256
_SMALLEST_BATCH: Final = 16
_BATCHES: Final = 16


class _RunRecord(BaseModel):
    """The file `run.json`: what a run is made of, so that nothing else is taken for it when it goes on."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    """Version of this record."""
    data: str
    """Fingerprint of the own data."""
    encoder: str
    """Name of the encoder."""
    tuning: TuningChoice = "auto"
    """Whether to tune the encoder."""
    folds: int | None = None
    """Folds of the training questions that are done without in turn; None for what suits the encoder."""
    seed: int
    """Seed of the split."""
    config: JEPAConfig
    """Configuration, with what was settled by the data."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="file of pairs (one JSON object a line: question, source, category, keywords), folder with such files "
        "(*.jsonl), or folder of documents (.md, .rst, .txt) whose subfolders are categories and whose headings serve "
        "as questions",
    )
    parser.add_argument("--config", type=Path, help="YAML file of the training; without it every key has its default")
    parser.add_argument("--output", type=Path, required=True, help="folder to write; must be new unless --resume")
    parser.add_argument("--resume", action="store_true", help="go on with the stopped run in the output folder")
    parser.add_argument(
        "--encoder",
        default=HASHED_TERMS,
        help=f"what turns texts into vectors: {HASHED_TERMS!r} (the default), which needs no download and knows only "
        "spelling, or the name or folder of a model of sentence-transformers",
    )
    parser.add_argument(
        "--encoder-device", help="where such a model computes, for example cuda; its own choice without"
    )
    parser.add_argument(
        "--tuning",
        choices=get_args(TuningChoice),
        default="auto",
        help="whether to tune such a model on the training pairs by LoRA: auto (the default) tunes it from "
        f"{LEAST_PAIRS} training pairs on, and keeps it if validation prefers its answers; on keeps it anyway",
    )
    parser.add_argument(
        "--folds",
        type=int,
        help="train anew without each of so many parts of the training questions, and learn from its answers to them "
        f"when to trust an answer, as from validation questions (default: {UNTUNED_FOLDS}, but 0 where a tuned encoder "
        "is kept, which would be tuned anew each time)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the split into training, validation and test")
    parser.add_argument(
        "--tracker",
        choices=("none", "tensorboard", "wandb"),
        default="none",
        help="where numbers go besides the folder",
    )


def run(arguments: argparse.Namespace) -> None:
    """Train, fit the answerer, and write what the validation questions say.

    Raises:
        ValueError: data, configuration or folder cannot be used; the message says why.
        FileNotFoundError: a file is not there.
    """
    output: Path = arguments.output
    check_folds(arguments.folds)
    data = read_own_data(arguments.data)
    if data.from_headings:
        logger.info("questions are made from headings: what is learned holds for questions that are like headings")
    config = JEPAConfig() if arguments.config is None else JEPAConfig.from_yaml(arguments.config)
    encoder = open_encoder(arguments.encoder, arguments.encoder_device)
    check_choice(arguments.tuning, encoder)
    dimension = encoded(encoder, ["one text tells the dimension"]).shape[1]
    record = _RunRecord(
        data=data.fingerprint,
        encoder=encoder.name,
        tuning=arguments.tuning,
        folds=arguments.folds,
        seed=arguments.seed,
        config=settled(config, dimension, len(data.texts.pairs), len(data.texts.names)),
    )
    _open_folder(output, record, resume=arguments.resume)
    dataset = _dataset(output / "dataset", data, encoder, arguments.seed)
    logger.info(
        "%d questions, %d sources, %d categories; encoder %s",
        *(len(part) for part in (dataset.questions, dataset.sources, dataset.names)),
        encoder.name,
    )
    validation_groups(dataset)  # before hours of training, not behind them

    def tuned_on(folder: Path, given: SteeringDataset) -> tuple[TunedEncoder, SteeringDataset]:
        tuned = tuned_encoder(folder, encoder, given, seed=record.config.training.seed, device=arguments.encoder_device)
        return tuned, _dataset(folder / "dataset", data, tuned, arguments.seed)

    tunes, found = is_tuned(arguments.tuning, encoder, dataset), []
    if arguments.tuning != "on":
        found.append(_fitted(record.config, data, dataset, encoder, output, arguments.tracker))
    if tunes:
        tuned, embedded = tuned_on(output / _TUNED, dataset)
        found.append(_fitted(record.config, data, embedded, tuned, output / _TUNED, arguments.tracker))
    kept = max(found, key=lambda each: each.validation)  # the untuned encoder's, of equals
    if len(found) > 1:
        logger.info(_about_tuning(*found))
    answerer, is_kept_tuned = kept.answerer, kept.dataset is not dataset
    if folds := arguments.folds if arguments.folds is not None else 0 if is_kept_tuned else UNTUNED_FOLDS:
        embed = (lambda folder, given: tuned_on(folder, given)[1]) if is_kept_tuned else None
        held_out = hold_out_folds(kept.model.config, dataset, output, folds, seed=arguments.seed, embed=embed)
        answerer = _answerer(kept.model, data, kept.dataset, kept.encoder, held_out)
    logger.info(_about_trust(answerer.trust))
    answerer.save_pretrained(output)
    encoders = {each.dataset.encoder: each.validation for each in found}
    write_validation_report(
        output, answerer, kept.dataset, kept.result, from_headings=data.from_headings, encoders=encoders
    )
    needed = "" if is_kept_tuned else f" --encoder {arguments.encoder}"
    sys.stdout.write(f'sightline-jepa ask --model {output}{needed} "your question"\n')


@dataclass(frozen=True)
class _Fitted:
    """What came of one encoder's vectors."""

    dataset: SteeringDataset
    """The data, embedded."""
    encoder: TextEncoder
    """What embedded them."""
    model: JEPAModel
    """What was trained."""
    result: TrainingResult
    """History of the training."""
    answerer: Answerer
    """What answers."""

    @property
    def validation(self) -> float:
        """MRR of validation questions by scores as an answerer shows them, a mean over the kinds of steering."""
        words = self.answerer.shared_words
        return 0.0 if words is None else words.validation


def _fitted(
    config: JEPAConfig, data: OwnData, dataset: SteeringDataset, encoder: TextEncoder, folder: Path, tracker_kind: str
) -> _Fitted:
    """Train on an encoder's vectors, and learn when to trust what is found by them."""
    with open_tracker(tracker_kind, folder / "tracker", folder.resolve().name) as tracker:
        trainer, result = train_model(config, dataset, folder / "training", tracker)
    shown = ", ".join(f"{mode} {score:.3f}" for mode, score in result.history[result.best_epoch].validation.items())
    logger.info("best epoch %d; validation MRR: %s", result.best_epoch, shown)
    if result.kept:
        logger.info(_about_choice(result))
    model = trainer.model
    answerer = _answerer(model, data, dataset, encoder)
    logger.info(_about_words(answerer.shared_words))
    return _Fitted(dataset, encoder, model, result, answerer)


def _answerer(
    model: JEPAModel,
    data: OwnData,
    dataset: SteeringDataset,
    encoder: TextEncoder,
    held_out: Sequence[HeldOut] = (),
) -> Answerer:
    return Answerer.fit(
        model,
        dataset,
        encoder,
        descriptions=data.texts.descriptions,
        source_ids=data.source_ids,
        held_out=held_out,
    )


def settled(config: JEPAConfig, dimension: int, pairs: int, categories: int) -> JEPAConfig:
    """Return a configuration in which what the data decide, and nobody has written, is decided.

    The dimension is the encoder's; batches become smaller where there are few pairs, so that an epoch has some sixteen;
    and no category can be wrong where there is but one.

    Args:
        config: configuration as it was read.
        dimension: width of the encoder's vectors.
        pairs: number of pairs in all splits.
        categories: number of categories.
    """
    predictor, training, curriculum = config.predictor, config.training, config.curriculum
    if "dimension" not in predictor.model_fields_set:
        predictor = predictor.model_copy(update={"dimension": dimension})
    if "batch_size" not in training.model_fields_set:
        size = min(_LARGEST_BATCH, max(_SMALLEST_BATCH, pairs // _BATCHES))
        training = training.model_copy(update={"batch_size": size})
    if categories < 2:
        curriculum = curriculum.model_copy(update={"wrong_start": 0.0, "wrong_end": 0.0})
    return config.model_copy(update={"predictor": predictor, "training": training, "curriculum": curriculum})


def _open_folder(output: Path, record: _RunRecord, *, resume: bool) -> None:
    """Begin a run's folder, or check that the one that is there is of the same run.

    Raises:
        ValueError: the folder is taken, is no run's, or is another run's.
    """
    path = output / _RUN
    if resume and path.is_file():
        try:
            begun = _RunRecord.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ValueError(f"{path} is damaged: {error.errors(include_url=False)[0]['msg']}; train anew") from error
        keys = ("data", "encoder", "tuning", "folds", "seed", "config")
        changed = [key for key in keys if getattr(begun, key) != getattr(record, key)]
        if changed:
            raise ValueError(
                f"{output} is of a run with other {' and '.join(changed)}; go on with what it was begun with, or give "
                "another --output"
            )
        return
    if resume:
        raise ValueError(f"{output} holds no run to resume ({_RUN} is missing); leave --resume out")
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"{output} is not empty; give --resume to go on with a stopped run, or another --output")
    with atomic_file(path) as file:
        file.write(record.model_dump_json(indent=2).encode() + b"\n")
    with atomic_file(output / "config.yaml") as file:
        file.write(yaml.safe_dump(record.config.model_dump(mode="json"), sort_keys=False).encode())


def _dataset(folder: Path, data: OwnData, encoder: TextEncoder, seed: int) -> SteeringDataset:
    """Return the embedded data set, from the run's folder if it is there."""
    if not folder.exists():
        built = build_dataset(data.texts, lambda texts: encoded(encoder, texts), encoder=encoder.name, seed=seed)
        write_dataset(folder, built)
    return read_dataset(folder)


def _about_choice(result: TrainingResult) -> str:
    """Say which way of settling what was `auto` is kept, and what validation says of every way."""
    scores = ", ".join(f"{name} {score:.3f}" for name, score in result.candidates.items())
    return f"kept {result.kept}: validation MRR, a mean over the kinds of steering, is highest of {scores}"


def _about_tuning(untuned: _Fitted, tuned: _Fitted) -> str:
    """Say which encoder is kept, and what validation says of both."""
    kept = "tuned" if tuned.validation > untuned.validation else "untuned"
    return (
        f"kept the {kept} encoder: validation MRR of answers, a mean over the kinds of steering, is "
        f"{tuned.validation:.3f} with the tuned one, {untuned.validation:.3f} with the untuned one"
    )


def _about_words(words: SharedWords | None) -> str:
    """Say how much words count that a question shares with a source, and what that is worth."""
    if words is None or not words.weight:
        return "words shared with a question add nothing to a source's score: they did not help on validation"
    return (
        f"words shared with a question add up to {words.weight:g} to a source's score (BM25, k1 {words.saturation:g}, "
        f"b {words.length_penalty:g}); validation MRR, a mean over the kinds of steering: {words.validation:.3f} with "
        f"them, {words.validation_without:.3f} without"
    )


def _about_trust(trust: Threshold) -> str:
    """Say when an answer is trusted."""
    promise = f"{trust.target:.0%} of their first results are right, with {trust.confidence:.0%} confidence"
    if trust.value is None:
        return f"no answer will be trusted: of no set of the questions asked could it be shown that {promise}"
    return (
        f"answers are trusted from a confidence of {trust.value:.2f} on, which {trust.coverage:.0%} of the questions "
        f"asked reach: at least {promise}"
    )
