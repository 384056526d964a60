"""Predict the embedding of the right source from a question and a steering signal, and explain the prediction.

Start with `SteeringDataset` (or `build_dataset`), a `JEPAConfig` and `Trainer`; go on to `Explainer`. Names are
imported on first use, so that looking at a data set does not load PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.jepa.adapter import (
        AdapterSettings,
        fit_adapter,
    )
    from sightline.jepa.baselines import (
        best_on_validation,
        fit_bm25,
        fit_cosine,
        fit_ridge,
        fit_rocchio,
        fit_soft_filter,
        fit_tf_idf,
        softly_filtered,
    )
    from sightline.jepa.building import (
        SteeringTexts,
        build_dataset,
        hold_out_fold,
        resplit,
    )
    from sightline.jepa.calibration import (
        Calibrator,
        brier_score,
        cross_fitted,
        fit_calibrator,
        reliability,
        risk_coverage,
    )
    from sightline.jepa.card import (
        render_card,
    )
    from sightline.jepa.checkpoint import (
        CheckpointError,
    )
    from sightline.jepa.collapse import (
        CollapseReport,
        measure_collapse,
    )
    from sightline.jepa.config import (
        ConfigError,
        CurriculumConfig,
        EMAConfig,
        JEPAConfig,
        LossConfig,
        PredictorConfig,
        RouterConfig,
        TrainingConfig,
    )
    from sightline.jepa.curriculum import (
        Curriculum,
    )
    from sightline.jepa.dataset import (
        DatasetError,
        Steering,
        SteeringDataset,
        changed_categories,
        oracle_steering,
        steering,
    )
    from sightline.jepa.decomposed import (
        DecomposedPredictor,
        Decomposition,
    )
    from sightline.jepa.documentation import (
        DocumentationError,
        load_documentation,
    )
    from sightline.jepa.ema import (
        EMAEncoder,
        FrozenTarget,
    )
    from sightline.jepa.evaluation import (
        Method,
        evaluate,
    )
    from sightline.jepa.evidence import (
        Evidence,
        gather_evidence,
    )
    from sightline.jepa.explanation import (
        Explainer,
        Explanation,
        write_explanations,
    )
    from sightline.jepa.faithfulness import (
        ablate_parts,
        ablate_routing,
        compare_with_control,
        force_subspace,
        influence_agreement,
    )
    from sightline.jepa.losses import (
        batch_info_nce,
        centroid_loss,
        corpus_info_nce,
        regression_loss,
        vicreg_loss,
    )
    from sightline.jepa.metrics import (
        QueryMetrics,
        query_metrics,
    )
    from sightline.jepa.model import (
        JEPAModel,
        ModelError,
    )
    from sightline.jepa.monitor import (
        EpochRecord,
        plot_losses,
        plot_steering,
        read_history,
        write_history_csv,
    )
    from sightline.jepa.negatives import (
        Negatives,
        mine_negatives,
    )
    from sightline.jepa.obedience import (
        ObedienceCurve,
        measure_obedience,
    )
    from sightline.jepa.prediction import (
        PredictFunction,
        PredictionParts,
        index_for,
        plain_predictions,
        routed_predictions,
    )
    from sightline.jepa.predictor import (
        SteeredPredictor,
    )
    from sightline.jepa.projection import (
        SharedProjection,
    )
    from sightline.jepa.router import (
        SubspaceRouter,
    )
    from sightline.jepa.routing_losses import (
        disentanglement_loss,
        load_balance_loss,
        residual_penalty,
        routing_confidence_loss,
        routing_loss,
    )
    from sightline.jepa.signals import (
        ActionableSignal,
        Reason,
        SignalPolicy,
        fit_policy,
    )
    from sightline.jepa.source_index import (
        SourceIndex,
    )
    from sightline.jepa.splits import (
        pair_components,
        split_by_components,
    )
    from sightline.jepa.statistics import (
        Interval,
        group_bootstrap,
        paired_bootstrap,
    )
    from sightline.jepa.trainer import (
        Trainer,
        TrainingResult,
    )

__all__ = [
    "ActionableSignal",
    "AdapterSettings",
    "Calibrator",
    "CheckpointError",
    "CollapseReport",
    "ConfigError",
    "Curriculum",
    "CurriculumConfig",
    "DatasetError",
    "DecomposedPredictor",
    "Decomposition",
    "DocumentationError",
    "EMAConfig",
    "EMAEncoder",
    "EpochRecord",
    "Evidence",
    "Explainer",
    "Explanation",
    "FrozenTarget",
    "Interval",
    "JEPAConfig",
    "JEPAModel",
    "LossConfig",
    "Method",
    "ModelError",
    "Negatives",
    "ObedienceCurve",
    "PredictFunction",
    "PredictionParts",
    "PredictorConfig",
    "QueryMetrics",
    "Reason",
    "RouterConfig",
    "SharedProjection",
    "SignalPolicy",
    "SourceIndex",
    "SteeredPredictor",
    "Steering",
    "SteeringDataset",
    "SteeringTexts",
    "SubspaceRouter",
    "Trainer",
    "TrainingConfig",
    "TrainingResult",
    "ablate_parts",
    "ablate_routing",
    "batch_info_nce",
    "best_on_validation",
    "brier_score",
    "build_dataset",
    "centroid_loss",
    "changed_categories",
    "compare_with_control",
    "corpus_info_nce",
    "cross_fitted",
    "disentanglement_loss",
    "evaluate",
    "fit_adapter",
    "fit_bm25",
    "fit_calibrator",
    "fit_cosine",
    "fit_policy",
    "fit_ridge",
    "fit_rocchio",
    "fit_soft_filter",
    "fit_tf_idf",
    "force_subspace",
    "gather_evidence",
    "group_bootstrap",
    "hold_out_fold",
    "index_for",
    "influence_agreement",
    "load_balance_loss",
    "load_documentation",
    "measure_collapse",
    "measure_obedience",
    "mine_negatives",
    "oracle_steering",
    "pair_components",
    "paired_bootstrap",
    "plain_predictions",
    "plot_losses",
    "plot_steering",
    "query_metrics",
    "read_history",
    "regression_loss",
    "reliability",
    "render_card",
    "residual_penalty",
    "resplit",
    "risk_coverage",
    "routed_predictions",
    "routing_confidence_loss",
    "routing_loss",
    "softly_filtered",
    "split_by_components",
    "steering",
    "vicreg_loss",
    "write_explanations",
    "write_history_csv",
]

_MODULES = {
    "adapter": "AdapterSettings fit_adapter",
    "baselines": (
        "best_on_validation fit_bm25 fit_cosine fit_ridge fit_rocchio fit_soft_filter fit_tf_idf softly_filtered"
    ),
    "building": "SteeringTexts build_dataset hold_out_fold resplit",
    "calibration": "Calibrator brier_score cross_fitted fit_calibrator reliability risk_coverage",
    "card": "render_card",
    "checkpoint": "CheckpointError",
    "collapse": "CollapseReport measure_collapse",
    "config": (
        "ConfigError CurriculumConfig EMAConfig JEPAConfig LossConfig PredictorConfig RouterConfig TrainingConfig"
    ),
    "curriculum": "Curriculum",
    "dataset": "DatasetError Steering SteeringDataset changed_categories oracle_steering steering",
    "decomposed": "DecomposedPredictor Decomposition",
    "documentation": "DocumentationError load_documentation",
    "ema": "EMAEncoder FrozenTarget",
    "evaluation": "Method evaluate",
    "evidence": "Evidence gather_evidence",
    "explanation": "Explainer Explanation write_explanations",
    "faithfulness": "ablate_parts ablate_routing compare_with_control force_subspace influence_agreement",
    "losses": "batch_info_nce centroid_loss corpus_info_nce regression_loss vicreg_loss",
    "metrics": "QueryMetrics query_metrics",
    "model": "JEPAModel ModelError",
    "monitor": "EpochRecord plot_losses plot_steering read_history write_history_csv",
    "negatives": "Negatives mine_negatives",
    "obedience": "ObedienceCurve measure_obedience",
    "prediction": "PredictFunction PredictionParts index_for plain_predictions routed_predictions",
    "predictor": "SteeredPredictor",
    "projection": "SharedProjection",
    "router": "SubspaceRouter",
    "routing_losses": "disentanglement_loss load_balance_loss residual_penalty routing_confidence_loss routing_loss",
    "signals": "ActionableSignal Reason SignalPolicy fit_policy",
    "source_index": "SourceIndex",
    "splits": "pair_components split_by_components",
    "statistics": "Interval group_bootstrap paired_bootstrap",
    "trainer": "Trainer TrainingResult",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
