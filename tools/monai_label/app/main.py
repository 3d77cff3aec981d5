"""The MONAI Label app of monai-lung: analysis, segmentation, training, and which scan comes next.

MONAI Label loads this file by its name and takes the class in it. `conf` must hold `work`, the server's own folder:
`bundle/lung_nodule_segmentation` in it is a copy that trainings may change, `analyses` is what was found.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lib import torchvision_ops

torchvision_ops.declare()

from fastapi import HTTPException  # noqa: E402
from lib.activelearning import Doubt, DoubtScoring  # noqa: E402
from lib.analyses import Analyses  # noqa: E402
from lib.corrections import entries_present  # noqa: E402
from lib.inference import KEPT, Analysis, Click, Correct, Segmentation, label_map_of  # noqa: E402
from lib.training import NoduleTraining  # noqa: E402
from monailabel.interfaces.app import MONAILabelApp  # noqa: E402
from monailabel.interfaces.datastore import Datastore  # noqa: E402
from monailabel.interfaces.tasks.infer_v2 import InferTask  # noqa: E402
from monailabel.interfaces.tasks.scoring import ScoringMethod  # noqa: E402
from monailabel.interfaces.tasks.strategy import Strategy  # noqa: E402
from monailabel.interfaces.tasks.train import TrainTask  # noqa: E402

from monai_lung.errors import InputError, MaskError, MonaiLungError  # noqa: E402
from monai_lung.report.findings import to_dict  # noqa: E402
from monai_lung.stages import CLASSIFICATION, SEGMENTATION, STAGES  # noqa: E402
from monai_lung.version import __version__  # noqa: E402
from monai_lung.weights import bundle_dir, sha256  # noqa: E402

log = logging.getLogger(__name__)


class LungApp(MONAILabelApp):  # type: ignore[misc]
    """See the module."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        work = Path(conf["work"])
        self.bundle, self.training_dir = work / "bundle" / "lung_nodule_segmentation", work / "training"
        self.analyses = Analyses(work / "analyses")
        self.analysis = Analysis(self.bundle, self.analyses)
        super().__init__(
            app_dir, studies, conf, name="monai-lung", version=__version__, description="Lungs and nodules on chest CT"
        )

    def init_infers(self) -> dict[str, InferTask]:
        """`analysis`, `segmentation`, `click` and `correct`."""
        return {
            "analysis": self.analysis,
            "segmentation": Segmentation(self.bundle),
            "click": Click(self.bundle),
            "correct": Correct(self.bundle),
        }

    def init_trainers(self) -> dict[str, TrainTask]:
        """`segmentation`."""
        return {"segmentation": NoduleTraining(self.bundle, self.training_dir)}

    def init_strategies(self) -> dict[str, Strategy]:
        """`doubt`, and MONAI Label's `random`."""
        return {"doubt": Doubt(self.analyses), **super().init_strategies()}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """`doubt`: the analyses that the strategy of this name needs; MONAI Label runs it by itself."""
        return {"doubt": DoubtScoring(self._analyze, self.waiting)}

    def init_remote_datastore(self) -> Datastore:
        """As MONAI Label has it, but a label goes to the archive with the names of its own segments."""
        store = super().init_remote_datastore()
        save = store.save_label

        def save_named(image_id: str, file: str, tag: str, info: dict[str, Any], label_id: str = "") -> str:
            if info.get("label_info") and not file.endswith(".bin"):  # those are voxels without a head
                try:
                    info = {**info, "label_info": entries_present(Path(file), info)}
                except MaskError as error:
                    raise HTTPException(422, detail=str(error)) from error
            label: str = save(image_id, file, tag, info, label_id)
            return label

        store.save_label = save_named
        return store

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """As MONAI Label has it; an analysis is kept, for `doubt`, for the next "Run" and for clicks.

        Raises:
            HTTPException: 422 for an input that can't be analysed, 500 for anything else; the detail says why.
        """
        try:
            kept = self._kept(str(request.get("image"))) if request.get("model") in ("analysis", "click") else None
            result: dict[str, Any] = super().infer({**request, KEPT: kept}, datastore)
        except MonaiLungError as error:
            log.warning("%s", error)
            raise HTTPException(422 if isinstance(error, InputError) else 500, detail=str(error)) from error
        return result

    def batch_infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """As MONAI Label has it, but one scan that can't be analysed doesn't end the batch: its result is empty."""

        def careful(one: dict[str, Any], store: Datastore) -> dict[str, Any]:
            try:
                return self.infer(one, store)
            except HTTPException:
                return {}

        run: Callable[..., dict[str, Any]] = self._batch_infer
        return run(request, datastore or self.datastore(), careful)

    def async_scoring(self, method: str | None, params: Mapping[str, Any] | None = None) -> Any:
        """Start the background analyses, unless there is nothing to analyse."""
        return super().async_scoring(method, params) if method or self.waiting() else {}

    def waiting(self) -> list[str]:
        """Scans without a label that the present weights haven't analysed."""
        return self.analyses.waiting(self.datastore().get_unlabeled_images(), self._weights())

    def _kept(self, image: str) -> tuple[str, tuple[Path, dict[str, Any]] | None] | None:
        """Under which name the analysis of an image is kept, and what is kept; None where it is no single file.

        A scan of the datastore has its name; an image that a client has loaded itself has its own hash.
        """
        known = image in self.datastore().list_images()
        path = Path(self.datastore().get_image_uri(image)) if known else Path(image)
        if not path.is_file():
            return None
        digest = sha256(path)
        scan = image if known else digest
        return scan, self.analyses.kept(scan, self._weights(), digest)

    def _weights(self) -> dict[str, str]:
        places = {SEGMENTATION: self.bundle, CLASSIFICATION: bundle_dir(CLASSIFICATION)}
        files = {name: places[stage.bundle] / "models" / stage.weights for name, stage in STAGES.items()}
        return {name: sha256(file) for name, file in files.items()}

    def _analyze(self, scan: str) -> None:
        """Analyse one scan and keep what was found, or why it can't be."""
        try:
            report = self.analysis.report(Path(self.datastore().get_image_uri(scan)))
        except Exception as error:
            if not isinstance(error, MonaiLungError):
                log.exception("a scan can't be analysed")
            self.analyses.write(scan, {"error": str(error), "weights": self._weights()})
            return
        self.analyses.write(scan, to_dict(report), label_map_of(report), report.ct.affine_lps)
