"""The viewer's server: what it gives, to whom, and that nothing of it stays."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from monai_lung.cli import run
from monai_lung.errors import UsageError
from monai_lung.io import read_ct
from monai_lung.model import LPS_RAS, Report
from monai_lung.pipeline import write
from monai_lung.view.content import case, contents, fraction, niivue_file
from monai_lung.view.server import ViewServer


def ask(server: ViewServer, path: str, host: str | None = None, method: str = "GET") -> tuple[int, dict, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def test_the_page_and_all_that_it_asks_for_are_served(server: ViewServer, shown: Report, niivue: Path) -> None:
    base = f"/{server.word}/"
    status, headers, page = ask(server, base)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    named = re.findall(r'(?:src|href)="([^"]+)"', page.decode())
    assert {"view.js", "view.css"} <= set(named)
    for name in (*(n for n in named if not n.startswith("data:")), "niivue.js", "case.json"):
        assert ask(server, base + name)[0] == 200, name
    assert ask(server, base + "niivue.js")[2] == niivue.read_bytes()
    image = nibabel.Nifti1Image.from_bytes(ask(server, base + "ct.nii")[2])
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.get_data_dtype() == shown.ct.hu.dtype
    there = np.linalg.inv(image.affine) @ LPS_RAS @ shown.ct.affine_lps @ (5, 7, 11, 1)
    assert np.asarray(image.dataobj)[tuple(np.rint(there[:3]).astype(int))] == shown.ct.hu[5, 7, 11]
    nodules = nibabel.Nifti1Image.from_bytes(ask(server, base + "nodules.nii")[2])
    assert set(np.unique(nodules.dataobj)) == {0, 1, 2, 3}
    around = np.asarray(nibabel.Nifti1Image.from_bytes(ask(server, base + "outlines.nii")[2]).dataobj) > 0
    inside = np.asarray(nodules.dataobj) > 0
    assert not (around & inside).any()
    assert (ndimage.binary_fill_holes(around) == (around | inside)).all()


def test_findings_have_their_place_in_the_volume_that_is_served(shown: Report) -> None:
    image = nibabel.Nifti1Image.from_bytes(contents_of(shown)["nodules.nii"][1])
    labels = np.asarray(image.dataobj)
    rows = case(shown)["findings"]
    assert sorted(row["id"] for row in rows) == [1, 2, 3]
    assert sum(row["decides"] for row in rows) == 1
    for row in rows:
        index = np.floor(np.array(row["at"]) * labels.shape).astype(int)
        assert labels[tuple(index)] == row["id"]
    assert fraction(shown.ct, (1e6, 1e6, 1e6)) == [0.0, 0.0, 1.0]  # LPS: far to the left, the back, the head


def contents_of(report: Report) -> dict:
    try:
        return dict(contents(report))
    except UsageError:
        pytest.skip("ipyniivue isn't installed")


def test_nothing_of_the_patient_is_on_the_page(shown: Report) -> None:
    said = json.dumps(case(shown))
    assert shown.ct.name in said
    for name in ("patient", "birth"):
        assert name not in said.lower()


def test_only_who_knows_the_address_sees_it(server: ViewServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert len(server.word) >= 20
    for path in ("/", "/case.json", "/wrong/case.json", f"/{server.word}", f"/{server.word[:-1]}x/"):
        status, _, body = ask(server, path)
        assert (status, body) == (404, b"nothing here\n"), path
    assert ask(server, f"/{server.word}/../setup.cfg")[0] == 404
    assert ask(server, f"/{server.word}/%2e%2e/setup.cfg")[0] == 404


def test_another_page_cannot_ask_under_its_own_name(server: ViewServer) -> None:
    """A name that a foreign page lets point to 127.0.0.1 would make that page of the same origin."""
    path = f"/{server.word}/case.json"
    assert ask(server, path, host=f"evil.example:{server.server_port}")[0] == 403
    assert ask(server, path, host=f"localhost:{server.server_port}")[0] == 200


def test_the_browser_is_told_to_fetch_nothing_from_elsewhere(server: ViewServer) -> None:
    _, headers, _ = ask(server, f"/{server.word}/")
    rules = dict(rule.strip().split(" ", 1) for rule in headers["Content-Security-Policy"].split(";"))
    assert rules["default-src"] == "'none'"
    assert not re.search(r"https?:|\*", headers["Content-Security-Policy"])
    assert headers["Cache-Control"] == "no-store"


def test_head_and_other_methods(server: ViewServer) -> None:
    status, headers, body = ask(server, f"/{server.word}/ct.nii", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 100_000
    assert ask(server, f"/{server.word}/", method="POST")[0] == 501


def test_a_taken_port_is_one_clear_line(server: ViewServer) -> None:
    with pytest.raises(UsageError, match=r"port \d+ can't be used .*free one") as caught:
        ViewServer({}, server.server_port)
    assert "\n" not in str(caught.value)


def test_without_ipyniivue_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_lung.view.content.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "monai-lung\[view\]"'):
        niivue_file()


def test_a_folder_without_a_result_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["view", str(tmp_path)]) == 2
    assert "no result" in capsys.readouterr().err


PROGRAM = """
import sys
from pathlib import Path
from monai_lung.view import content
stand_in = Path(sys.argv.pop(1))
content.niivue_file = lambda: stand_in
from monai_lung.cli import main
main()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_ended(how: int, shown: Report, niivue: Path, tmp_path: Path) -> None:
    ct = read_ct(shown.ct.path)
    folder = write(Report(**{**vars(shown), "ct": ct}), tmp_path, ("json", "nifti"))
    command = [sys.executable, "-c", PROGRAM, str(niivue), "view", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", url), process.stderr.read()
        port = int(url.split(":")[2].split("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/" + url.split("/", 3)[3] + "case.json")
        assert json.loads(connection.getresponse().read())["name"] == folder.name
        os.kill(process.pid, how)
        try:
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()  # else one that goes on would be waited for
        assert (process.returncode, said) == (0, "")
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.1", port), timeout=2):
        pass


def test_the_volumes_are_files_that_readers_take(server: ViewServer) -> None:
    data = ask(server, f"/{server.word}/lungs.nii")[2]
    image = nibabel.Nifti1Image.from_stream(io.BytesIO(data))
    assert image.header.get_xyzt_units()[0] == "mm"
