"""Makes the server's folder, checks what could go wrong, and becomes a MONAI Label server. Run by `start`."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import socket
import sys
from pathlib import Path

from monai_lung.errors import MonaiLungError, UsageError

HERE = Path(__file__).resolve().parent
BUNDLE = "lung_nodule_segmentation"
_QIDO_S = 10


def main() -> int:
    """Start the server; exit code 1 for an error, 2 for wrong usage, each one line on stderr."""
    arguments = _arguments()
    try:
        studies = arguments.dicomweb or _folder(arguments.studies)
        work = arguments.work or HERE.parents[1] / "runs" / "monai_label" / _key(studies)
        _check_port(arguments.host, arguments.port)
        work.mkdir(mode=0o700, parents=True, exist_ok=True)  # it will hold an archive's images
        bundle = _bundle(work)
        _check_weights(bundle)
        if arguments.dicomweb:
            _check_dicomweb(arguments.dicomweb)
        else:
            _import_dicom(Path(studies))
    except MonaiLungError as error:
        print(f"start: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:
        print(f"start: error: {error.filename}: {error.strerror}; give another --work", file=sys.stderr)
        return 1
    _serve(studies, work, arguments.host, arguments.port)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("start", description="MONAI Label server for lungs and nodules on chest CT")
    parser.add_argument("studies", nargs="?", type=Path, metavar="STUDIES", help="folder of CTs: DICOM, NIfTI or NRRD")
    parser.add_argument("--dicomweb", metavar="URL", help="an archive instead, such as http://127.0.0.1:8042/dicom-web")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="(%(default)s)")
    parser.add_argument("--work", type=Path, help="the server's own folder (runs/monai_label/... in the checkout)")
    arguments = parser.parse_args()
    if (arguments.studies is None) == (arguments.dicomweb is None):
        parser.error("give a folder of studies, or --dicomweb URL")
    return arguments


def _folder(studies: Path) -> str:
    if not studies.is_dir():
        raise UsageError(f"{studies}: no such folder; give the folder that holds the CTs")
    if not os.access(studies, os.W_OK):
        raise UsageError(f"{studies}: read-only; labels are kept beside the CTs, so give a folder that can be written")
    return str(studies.resolve())


def _key(studies: str) -> str:
    """A folder's name for what belongs to one folder or archive."""
    return hashlib.sha256(studies.encode()).hexdigest()[:12]


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"{host}:{port}: can't listen there ({reason}); choose another --port") from error


def _bundle(work: Path) -> Path:
    """The server's own copy of the bundle: trainings change its weights, the installed ones stay.

    It follows the installed one until a training has changed it.
    """
    from monai_lung.weights import bundle_dir

    bundle = work.resolve() / "bundle" / BUNDLE
    if not (bundle / "trained").exists():
        shutil.rmtree(bundle, ignore_errors=True)
        shutil.copytree(bundle_dir(BUNDLE), bundle)
    return bundle


def _check_weights(bundle: Path) -> None:
    from monai_lung.inference import load_networks

    load_networks("cpu", segmentation_dir=bundle)


def _check_dicomweb(url: str) -> None:
    import requests

    user, password = (os.environ.get(f"MONAI_LABEL_DICOMWEB_{name}", "") for name in ("USERNAME", "PASSWORD"))
    try:
        answer = requests.get(
            f"{url.rstrip('/')}/series?limit=1",
            headers={"Accept": "application/dicom+json"},
            auth=(user, password) if user else None,
            timeout=_QIDO_S,
        )
        answer.raise_for_status()
        if answer.content:
            answer.json()
    except (requests.RequestException, ValueError) as error:
        reason = " ".join(str(error).split())[-160:]
        raise UsageError(f"{url}: no DICOMweb answers there ({reason}); check address and archive") from error


def _import_dicom(studies: Path) -> None:
    """MONAI Label serves volume files: write one for each DICOM study in the folder that has none yet."""
    from monai_lung.errors import NoSeriesError, NotCTError
    from monai_lung.io import find_cases, read_ct, write_nifti

    try:
        cases = [case for case in find_cases(studies) if case.series is not None]
    except (NoSeriesError, NotCTError):
        return
    for case in cases:
        path = studies / f"{case.name}.nii.gz"
        if path.exists():
            continue
        try:
            ct = read_ct(case)
        except MonaiLungError as error:
            print(f"start: {case.name} is left out: {error}", file=sys.stderr)
            continue
        write_nifti(path, ct.hu, ct.affine_lps)
        print(f"start: {path.name} made from DICOM", file=sys.stderr)


def _serve(studies: str, work: Path, host: str, port: int) -> None:
    """Hand over to MONAI Label; its app is copied to `work`, since it writes into that folder."""
    app = work.resolve() / "app"
    shutil.copytree(HERE / "app", app, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    defaults = {
        "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(work.resolve() / "dicomweb"),
        "MONAI_LABEL_DICOMWEB_CACHE_EXPIRY": "10",  # not two hours: new studies and labels must be seen
        "MONAI_LABEL_SESSION_PATH": str(work.resolve() / "sessions"),
        "MONAI_LABEL_TRACKING_ENABLED": "false",
        "MONAI_LABEL_DATASTORE_FILE_EXT": json.dumps(["*.nii.gz", "*.nii", "*.nrrd"]),
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PYTHONPATH", "")
    os.chdir(app)  # it reads .env of the working directory
    from monailabel.config import settings
    from monailabel.main import Main

    class OwnPagesOnly(Main):  # type: ignore[misc]
        """Other web pages may not ask this server: by default any page in the browser could read the scans."""

        def start_server_init_settings(self, args: argparse.Namespace) -> None:
            super().start_server_init_settings(args)
            # OHIF's panel asks 127.0.0.1, whatever the page's address; in the environment a list fails
            settings.MONAI_LABEL_CORS_ORIGINS = [f"http://{name}:{port}" for name in {shown, "localhost", "127.0.0.1"}]

    print(f"start: http://{shown}:{port}/ for 3D Slicer, http://{shown}:{port}/ohif/ for OHIF", file=sys.stderr)
    sys.argv = ["monailabel", "start_server", "--app", str(app), "--studies", studies]
    sys.argv += ["--host", host, "--port", str(port), "--conf", "work", str(work.resolve())]
    OwnPagesOnly().run()


if __name__ == "__main__":
    sys.exit(main())
