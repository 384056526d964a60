import pytest
import torch

from sightline.tamiyo_policy.compat import registry
from sightline.tamiyo_policy.compat.bundle import LSTMPolicyBundle
from sightline.tamiyo_policy.compat.config import PolicyConfig
from sightline.tamiyo_policy.compat.registry import create_policy, get_policy, list_policies, register_policy


@pytest.fixture
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_POLICIES", dict(registry._POLICIES))


def test_the_lstm_policy_is_registered():
    assert "lstm" in list_policies()
    assert isinstance(get_policy("lstm", PolicyConfig(hidden_dim=8)), LSTMPolicyBundle)


def test_a_registered_class_is_found_by_its_name(own_registry):
    @register_policy("twin")
    class Twin(LSTMPolicyBundle):
        pass

    assert list_policies() == ["lstm", "twin"]
    assert isinstance(get_policy("twin", PolicyConfig(hidden_dim=8)), Twin)


def test_a_name_can_be_given_once(own_registry):
    with pytest.raises(ValueError, match="'lstm' is registered already"):
        register_policy("lstm")(LSTMPolicyBundle)


def test_a_class_that_lacks_members_is_refused_and_they_are_named(own_registry):
    class Half:
        def get_action(self):
            raise NotImplementedError

    with pytest.raises(TypeError, match=r"Half is no PolicyBundle, it lacks .*evaluate_actions.*state_dict") as error:
        register_policy("half")(Half)
    assert "get_action" not in str(error.value)
    assert "half" not in list_policies()


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'lstm'"):
        get_policy("lstn", PolicyConfig())


def test_create_policy_builds_and_places_the_policy():
    policy = create_policy("lstm", PolicyConfig(hidden_dim=8, layout="v114"), device="cpu")
    assert policy.device == torch.device("cpu")
    assert policy.config.hidden_dim == 8
    assert not policy.is_compiled


def test_create_policy_moves_the_policy_before_it_compiles_it(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, mode: compiled.append((module, mode)))
    policy = create_policy(config=PolicyConfig(hidden_dim=8), device="meta", compile_mode="reduce-overhead")
    assert policy.is_compiled
    assert {mode for _, mode in compiled} == {"reduce-overhead"}
    assert {parameter.device.type for module, _ in compiled for parameter in module.parameters()} == {"meta"}
