from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from sightline.teachability import Labeller, Task, collect_episodes, mine_failures
from sightline.teachability.jsonl import RecordError
from sightline.teachability.predictor import (
    STRUCTURAL_FEATURES,
    UNCERTAINTY_FEATURES,
    HashingEmbedder,
    PredictorConfig,
    Targets,
    choose_folds,
    cross_fit_predictions,
    embed,
    fit_predictor,
    load_predictor,
    make_targets,
    structural_features,
)
from sightline.teachability.statistics import cluster_bootstrap, spearman

MLP = PredictorConfig(kind="mlp", hidden=(32, 16), members=2, epochs=30, learning_rate=3e-3)
BOTH = pytest.mark.parametrize("config", [PredictorConfig(), MLP], ids=["ridge", "mlp"])


def planted(seed=0, size=400):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(size, 20))
    signal = features[:, 0] + 0.7 * features[:, 1] - 0.5 * features[:, 2]
    elp = signal + 0.3 * generator.normal(size=size)
    other = np.where(generator.random(size) < 0.3, np.nan, -signal)
    quadrant = np.digitize(signal, [-0.8, 0.0, 0.8])
    quadrant[:30] = -1
    targets = Targets(
        {"elp": elp, "L_local": other, "L_upper": np.full(size, np.nan), "depth": np.full(size, np.nan)},
        {name: np.ones(size) for name in ("elp", "L_local", "L_upper", "depth")},
        {"quadrant": quadrant.astype(np.int64), "route": np.full(size, -1, dtype=np.int64)},
    )
    groups = [str(i // 3) for i in range(size)]
    return features, targets, groups, signal


@BOTH
def test_a_planted_signal_is_found_out_of_fold(config):
    features, targets, groups, signal = planted()
    found = cross_fit_predictions(features, targets, groups, config)
    assert spearman(found.predictions["elp"], signal) > 0.8
    assert spearman(found.predictions["L_local"], -signal) > 0.8
    known = targets.classes["quadrant"] >= 0
    assert (found.predictions["quadrant"].argmax(1)[known] == targets.classes["quadrant"][known]).mean() > 0.6
    assert "depth" not in found.predictions  # nothing was measured, so nothing is predicted


def test_of_shuffled_targets_nothing_is_found():
    features, targets, groups, _ = planted()
    shuffled = np.random.default_rng(3).permutation(targets.numbers["elp"])
    other = Targets({**targets.numbers, "elp": shuffled}, targets.weights, targets.classes)
    found = cross_fit_predictions(features, other, groups, PredictorConfig()).predictions["elp"]
    interval = cluster_bootstrap(lambda rows: spearman(found[rows], shuffled[rows]), groups, seed=0, draws=500)
    assert interval.low < 0 < interval.high


def test_no_row_is_scored_by_a_model_that_saw_its_group():
    features, targets, groups, _ = planted(size=90)
    folds = cross_fit_predictions(features, targets, groups, PredictorConfig()).folds
    assert all(len({folds[i] for i in range(90) if groups[i] == group}) == 1 for group in groups)
    counts = np.bincount(folds)
    assert counts.max() - counts.min() <= 3
    # A group made of outliers moves no prediction of its own fold.
    spoilt = targets.numbers["elp"].copy()
    spoilt[folds == 0] = 1e6
    other = Targets({**targets.numbers, "elp": spoilt}, targets.weights, targets.classes)
    first, second = (
        cross_fit_predictions(features, t, groups, PredictorConfig()).predictions["elp"] for t in (targets, other)
    )
    assert first[folds == 0] == pytest.approx(second[folds == 0])


def test_folds_do_not_depend_on_the_order_of_rows():
    groups = [f"g{i % 11}" for i in range(60)]
    first = dict(zip(groups, choose_folds(groups, 4).tolist(), strict=True))
    assert dict(zip(groups[::-1], choose_folds(groups[::-1], 4).tolist(), strict=True)) == first


def test_the_ridge_is_scikit_learns():
    generator = np.random.default_rng(0)
    features, y, weights = generator.normal(size=(50, 6)), generator.normal(size=50), generator.random(50) + 0.1
    targets = Targets({"elp": y}, {"elp": weights}, {})
    found = fit_predictor(features, targets, PredictorConfig(penalty=7.0)).predict(features)["elp"]
    scaled = (features - features.mean(0)) / features.std(0)
    expected = Ridge(alpha=7.0).fit(scaled, y, sample_weight=weights / weights.mean()).predict(scaled)
    assert found == pytest.approx(expected, abs=1e-8)


@BOTH
def test_a_predictor_reads_back_and_a_damaged_one_is_refused(config, tmp_path):
    features, targets, _, _ = planted(size=60)
    model = fit_predictor(features, targets, config)
    model.save_pretrained(tmp_path)
    again = load_predictor(tmp_path).predict(features)
    for name, values in model.predict(features).items():
        assert again[name] == pytest.approx(values, abs=1e-6)
    file = tmp_path / "predictor.json"
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])
    with pytest.raises(RecordError, match="no predictor"):
        load_predictor(tmp_path)
    file.write_text(json.dumps(json.loads(whole) | {"schema_version": 2}))
    with pytest.raises(RecordError, match="version 2"):
        load_predictor(tmp_path)


def test_networks_with_truncated_weights_are_refused(tmp_path):
    features, targets, _, _ = planted(size=60)
    fit_predictor(features, targets, MLP).save_pretrained(tmp_path)
    weights = tmp_path / "networks.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(RecordError, match="does not belong"):
        load_predictor(tmp_path)


@BOTH
def test_equal_seeds_give_equal_predictions_and_other_features_are_refused(config):
    features, targets, _, _ = planted(size=60)
    first, second = (fit_predictor(features, targets, config) for _ in range(2))
    assert np.array_equal(first.predict(features)["elp"], second.predict(features)["elp"])
    with pytest.raises(ValueError, match="made for 20 features, not 3"):
        first.predict(features[:, :3])
    with pytest.raises(ValueError, match="finite"):
        fit_predictor(np.full((3, 2), np.nan), targets, config)


def labelled_crowd(worlds):
    world, policy = worlds.random_world(8)
    teacher = worlds.TableTeacher(lambda state: world.actions(state)[0])
    episodes = collect_episodes(
        world, policy, [Task(n, f"g{n}", worlds.Place(0)) for n in range(12)], seed=0, rollouts=range(2)
    )
    snapshots = mine_failures(episodes, "uniform")
    return Labeller(world, policy, teacher).label(snapshots, episodes), episodes


def test_structural_features_by_hand(worlds):
    labelled, episodes = labelled_crowd(worlds)
    table = structural_features(labelled, episodes)
    names = (*STRUCTURAL_FEATURES, *UNCERTAINTY_FEATURES)
    assert table.shape == (len(labelled), len(names))
    by_id = {episode.id: episode for episode in episodes}
    for one, row in zip(labelled, table, strict=True):
        found = dict(zip(names, row, strict=True))
        episode = by_id[one.snapshot.trajectory_id]
        assert found["step_index"] == one.snapshot.step
        assert found["trajectory_length"] == len(episode.steps)
        assert found["n_available_actions"] == len(one.snapshot.actions)
        assert found["task_complexity"] == 3
        assert found["n_prior_failures"] == sum(
            e.task == one.snapshot.task and e.outcome == "failure" and e is not episode for e in episodes
        )
        pages = [step.observation for step in episode.steps[: one.snapshot.step + 1]]
        last_new = max(i for i, page in enumerate(pages) if page not in pages[:i])
        assert found["steps_since_progress"] == one.snapshot.step - last_new
        assert found["top_probability"] == max(one.uncertainty.probabilities)


def test_targets_mask_what_was_not_measured_and_weigh_what_was_by_its_precision(worlds):
    labelled, _ = labelled_crowd(worlds)
    bare = labelled[0].model_copy(update={"values": None, "patches": None, "depth": None, "quadrant": "undecided"})
    wide = labelled[1].values.L_local.model_copy(update={"low": -0.5, "high": 0.5, "method": "mixed"})
    loose = labelled[1].model_copy(update={"values": labelled[1].values.model_copy(update={"L_local": wide})})
    found = make_targets([labelled[1], bare, loose])
    assert all(math.isnan(values[1]) for values in found.numbers.values())
    assert found.classes["quadrant"][1] == found.classes["route"][1] == -1
    assert found.weights["L_local"][0] > found.weights["L_local"][2]


def test_hashed_texts_are_unit_vectors_that_words_decide():
    embedder = HashingEmbedder(64)
    vectors = embedder.encode(["a red mug", "A RED mug!", "a blue lamp", ""])
    assert np.linalg.norm(vectors, axis=1).tolist() == pytest.approx([1, 1, 1, 0])
    assert np.array_equal(vectors[0], vectors[1])
    assert vectors[0] @ vectors[2] < 0.9
    with pytest.raises(ValueError, match="at least 1"):
        HashingEmbedder(0)


def test_any_encoder_does(worlds):
    class Lengths:
        def encode(self, sentences):
            return [[len(text)] for text in sentences]

    labelled, _ = labelled_crowd(worlds)
    assert embed(labelled, Lengths()).shape == (len(labelled), 1)
