"""One small model of each family for all tests of this folder."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))  # for the helpers beside the tests


@pytest.fixture(scope="session")
def models() -> dict[str, Any]:
    from explained import SMALL, small

    return {family: small(family) for family in SMALL}
