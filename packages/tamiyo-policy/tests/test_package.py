from __future__ import annotations

import subprocess
import sys

import pytest

import sightline.tamiyo_policy as package


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys; import sightline.tamiyo_policy; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_exists_once() -> None:
    assert all(hasattr(package, name) for name in package.__all__)
    assert len(set(package.__all__)) == len(package.__all__)
    assert set(package.__all__) <= set(dir(package))


def test_a_misspelt_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="RecurentPPO"):
        package.RecurentPPO  # noqa: B018
