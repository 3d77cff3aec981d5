"""Running a bundle's config in this process, from elsewhere than its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow


def workflow(bundle: Path, *configs: str, kind: str = "infer", **options: Any) -> ConfigWorkflow:
    """The workflow of the configs, merged, with the bundle as its root."""
    files = [str(bundle / "configs" / name) for name in configs]
    given = {"bundle_root": str(bundle)} | options
    return ConfigWorkflow(config_file=files, workflow_type=kind, logging_file=False, **given)


def run(bundle: Path, *configs: str, kind: str = "infer", **options: Any) -> ConfigWorkflow:
    """Run the configs to the end."""
    flow = workflow(bundle, *configs, kind=kind, **options)
    flow.initialize()
    flow.run()
    flow.finalize()
    return flow


def cause_of(error: BaseException, kind: type[BaseException]) -> BaseException:
    """The error of this kind that MONAI wrapped into its own."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__
    assert cause is not None, f"no {kind.__name__} behind {error!r}"
    return cause
