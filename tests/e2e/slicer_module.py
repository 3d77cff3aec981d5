"""3D Slicer's module MONAILabel without Slicer: what its buttons send, sent by the client that it imports.

The client is that very file, which MONAI Label's wheel brings along; it runs in the server's environment. What it is
given follows `MONAILabel.py` of MONAI Label 0.8.5.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from label_server import START, LabelServer

VENV = Path(os.environ.get("MONAI_LUNG_LABEL_VENV", START.parents[2] / ".venv-monai-label"))
CLIENT = VENV / "monailabel" / "plugins" / "slicer" / "MONAILabel" / "MONAILabelLib"
ANSWER_S = 1800
_CALL = """
import json, sys
call = json.load(sys.stdin)
sys.path.insert(0, call["folder"])
from client import MONAILabelClient
client = MONAILabelClient(call["url"], call["files"], "user-xyz")
try:
    answer = {"result": getattr(client, call["name"])(*call["arguments"])}
except Exception as error:
    answer = {"error": getattr(error, "msg", None) or repr(error)}
print(json.dumps(answer))
"""
Points = Mapping[str, Sequence[Sequence[int]]]


class ModuleError(Exception):
    """What the module would show in a window."""


class SlicerModule:
    """The module, connected to a server; `files` is its temporary folder."""

    def __init__(self, server: LabelServer, files: Path) -> None:
        self.url, self.files = f"http://127.0.0.1:{server.port}", files
        files.mkdir(exist_ok=True)
        self.info = self.call("info")

    def call(self, name: str, *arguments: Any) -> Any:
        """The answer to a method of the client.

        Raises:
            ModuleError: the client raised; what it said.
        """
        call = {"folder": str(CLIENT), "url": self.url, "files": str(self.files), "name": name, "arguments": arguments}
        done = subprocess.run(
            [VENV / "bin" / "python", "-c", _CALL],
            input=json.dumps(call),
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=True,
        )
        answer = json.loads(done.stdout.splitlines()[-1])
        if "error" in answer:
            raise ModuleError(answer["error"])
        return answer["result"]

    def options(self, section: str, name: str) -> dict[str, Any]:
        """What the table of options holds for a model, trainer or strategy: of a list the first."""
        config = self.info[section][name].get("config", {})
        return {key: value[0] if isinstance(value, list) else value for key, value in config.items()}

    def next_sample(self, strategy: str) -> dict[str, Any]:
        """The button "Next Sample"."""
        sample: dict[str, Any] = self.call("next_sample", strategy, self.options("strategies", strategy))
        return sample

    def model_that_runs_by_itself(self) -> str:
        """The model that the module runs on each new sample: the first that has the first label."""
        return next(
            name
            for label in self.info["labels"]
            for name, model in self.info["models"].items()
            if label in model["labels"]
        )

    def run(self, model: str, image: str, session: str | None = None, **more: Any) -> tuple[Path, dict[str, Any]]:
        """The button "Run": the label map, and what came with it."""
        asked = {**more, **self.options("models", model), "result_extension": ".nrrd", "result_dtype": "uint8"}
        file, params = self.call("infer", model, image, asked, None, None, session)
        return Path(file), params

    def click(self, image: str, label: str, points: Points, session: str | None = None) -> tuple[Path, dict[str, Any]]:
        """Points of the segments, the last one with the segment `label` chosen."""
        return self.run(
            "click", image, session, **{name: points.get(name, []) for name in self.info["labels"]}, label=label
        )

    def submit(self, image: str, label: Path, segments: Sequence[str]) -> dict[str, Any]:
        """The button "Submit Label", with a segmentation of these segments, in their order.

        The label map has the values 1, 2, ... of those that are sent; the numbers that go with it count all.
        """
        info = [{"name": name, "idx": n} for n, name in enumerate(segments, start=1) if name != "background"]
        answer: dict[str, Any] = self.call("save_label", image, str(label), "", {"label_info": info})
        return answer


def segments_of(params: Mapping[str, Any]) -> list[str]:
    """The segments that the module fills with a result: value 1 goes to the first, and so on."""
    return [name for name, _ in sorted(params["label_names"].items(), key=lambda item: item[1])]
