from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_the_package_and_its_light_half_loads_no_torch():
    code = (
        "import sys; from sightline.retrieval import HashingEncoder, LocalEmbeddingStore, chunk_text, recall_at_k; "
        "from sightline.retrieval import RetrieverConfig, RetrieverTrainingConfig as T; T(); "
        "from sightline.retrieval.conditioned import TrainingResult, embed_examples, label_chunks; "
        "assert 'torch' not in sys.modules"
    )
    assert run(code).returncode == 0


@pytest.mark.parametrize("name", ["StateConditionedRetriever", "conditioned.margin_loss", "train_retriever"])
def test_without_torch_the_error_names_the_install_command(name: str):
    result = run(
        f"import sys; sys.modules['torch'] = None; import sightline.retrieval.conditioned; sightline.retrieval.{name}()"
    )
    assert result.returncode != 0
    assert "pip install 'sightline-retrieval[torch]'" in result.stderr
