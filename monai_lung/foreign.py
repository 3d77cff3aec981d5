"""Networks from elsewhere: MONAI's own, and classes in a bundle's folder. Building one runs its code."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from monai_lung.errors import ConfigError


def build_foreign(config: Mapping[str, Any], key: str, bundle: Path) -> nn.Module:
    """The network `config[key]` of a bundle, built as `python -m monai.bundle run` builds it.

    Its class is named as in any MONAI bundle: `DynUNet` for one of MONAI's, `scripts.mine.Mine` for one in the bundle's
    own `scripts/mine.py`, or that of an installed package.

    Args:
        config: the bundle's `inference.json`.
        key: of the definition.
        bundle: its folder, from which modules are imported while the network is built.

    Raises:
        ConfigError: it can't be built, or isn't a network.
    """
    from monai.bundle import ConfigParser

    where = f"{bundle}/configs/inference.json: {key!r}"
    try:
        with modules_of(bundle):
            network = ConfigParser(dict(config)).get_parsed_content(key)
    except Exception as error:  # it runs foreign code
        raise ConfigError(f"{where} can't be built: {_cause(error)}") from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{where} is a {type(network).__name__}, not a network (torch.nn.Module)")
    return network


@contextmanager
def modules_of(bundle: Path) -> Iterator[None]:
    """Import modules from a bundle's folder while the block runs; two bundles may each have a `scripts`."""
    root = bundle.resolve()
    own = {path.stem for path in root.glob("*.py")} | {path.parent.name for path in root.glob("*/*.py")}
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        places = [getattr(sys.modules[name], "__file__", None), *getattr(sys.modules[name], "__path__", [])]
        if not any(place and root in Path(place).resolve().parents for place in places):
            del sys.modules[name]
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))


def _cause(error: BaseException) -> str:
    """The first cause of an error that MONAI wrapped, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
