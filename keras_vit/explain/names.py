"""Names of layers as short as the axes of a figure need them."""

import re
from collections.abc import Iterable


def short_names(names: Iterable[str]) -> list[str]:
    """What tells layers apart: `blocks_11` is 11, `stages_2_blocks_0` is 2.0; others stay as they are."""
    names = list(names)
    short = [".".join(re.findall(r"\d+", name)) for name in names]
    alike = len({re.sub(r"\d+", "", name) for name in names}) == 1
    return short if alike and all(short) and len(set(short)) == len(short) else names
