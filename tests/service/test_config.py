"""The configuration is checked as a whole, and what is wrong is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from monai_lung.cli import run
from monai_lung.errors import ConfigError, UsageError
from monai_lung.service.config import Retry, Sender, read_config

GOOD = """
storage = "store"
[[sender]]
ae_title = "CT1"
address = "10.1.2.0/24"
[[destination]]
name = "pacs"
ae_title = "ARCHIVE"
host = "pacs.example"
port = 104
"""
WEB = '[[destination]]\nname = "web"\nurl = "https://pacs.example/dicom-web"\n'


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "node.toml"
    file.write_text(text)
    return file


def test_a_short_file_is_enough(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, GOOD + WEB + '[dicom]\nquiet_s = 5\ntls = {certificate="c", key="/k"}\n'))
    assert config.storage == tmp_path / "store"
    assert (config.dicom.address, config.http.address) == ("127.0.0.1", "127.0.0.1")
    assert config.dicom.quiet_s == 5.0
    assert config.dicom.tls is not None
    assert (config.dicom.tls.certificate, config.dicom.tls.key) == (tmp_path / "c", Path("/k"))
    assert [d.name for d in config.destination] == ["pacs", "web"]


def test_key_images_and_the_patients_name_only_where_asked_for(tmp_path: Path) -> None:
    plain = read_config(written(tmp_path, GOOD))
    assert plain.destination[0].objects == ("seg", "sr", "report")
    assert plain.analysis.report_shows == ()
    text = GOOD + 'objects = ["sr", "key"]\n[analysis]\nreport_shows = ["name", "id"]\n'
    asked = read_config(written(tmp_path, text))
    assert asked.destination[0].objects == ("sr", "key")
    assert asked.analysis.report_shows == ("name", "id")


def test_a_folder_of_objects_is_sent_file_by_file(tmp_path: Path) -> None:
    from monai_lung.service.jobs import _files

    (tmp_path / "key_images").mkdir()
    assert _files(tmp_path, "key_images") == [], "no nodule, nothing to send"
    for name in ("nodule-2.dcm", "nodule-1.dcm"):
        (tmp_path / "key_images" / name).touch()
    assert _files(tmp_path, "key_images") == ["key_images/nodule-1.dcm", "key_images/nodule-2.dcm"]
    assert _files(tmp_path, "sr.dcm") == ["sr.dcm"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("", "[dicom]\nquite_s = 5"), r"dicom\.quite_s: unknown key; did you mean quiet_s\?"),
        (("", "[retries]\nfirst_s = 5"), r"retries: unknown key"),
        (('ae_title = "CT1"', 'ae_titel = "CT1"'), r"sender\[0\]\.ae_titel: unknown key; did you mean ae_title\?"),
        (('ae_title = "CT1"', ""), r"sender\[0\]\.ae_title: is missing"),
        (('storage = "store"', ""), r"storage: is missing"),
        (('storage = "store"', "storage = 3"), r"storage: must be a valid string, not 3"),
        (("port = 104", 'port = "104"'), r"destination\[0\]\.port: must be a valid integer, not '104'"),
        (("port = 104", "port = true"), r"destination\[0\]\.port: must be a valid integer, not True"),
        (("port = 104", "port = 70000"), r"destination\[0\]\.port: must be less than or equal to 65535, not 70000"),
        (("port = 104", ""), r"destination\[0\]\.port: is missing \(or give url"),
        (("10.1.2.0/24", "scanner-1"), r"sender\[0\]\.address: 'scanner-1' is neither an IP address nor a network"),
        (('"CT1"', '"A TITLE THAT IS FAR TOO LONG"'), r"sender\[0\]\.ae_title: takes 1 to 16"),
        (('name = "pacs"', 'name = "pacs"\nobjects = ["seg", "pdf"]'), r"destination\[0\]\.objects: must be of seg"),
        (('name = "pacs"', 'name = "pacs"\nurl = "https://x/y"'), r"destination\[0\]\.url: is for STOW-RS"),
        (('name = "pacs"', 'name = "pacs"\nuser = "u"'), r"destination\[0\]\.user: is for STOW-RS"),
        (("", '[[destination]]\nname = "w"\nurl = "ftp://x"'), r"destination\[1\]\.url: must look like https"),
        (("", '[[destination]]\nname = "pacs"\nurl = "https://x/y"'), r"destination\.name: must differ"),
        (("", '[analysis]\ndevice = "tpu"'), r"analysis\.device: must be 'auto', 'cpu' or 'cuda', not 'tpu'"),
        (("", '[analysis]\nreport_shows = ["name", "address"]'), r"analysis\.report_shows: must be of name, id"),
        (("", "[analysis]\nattempts = 0"), r"analysis\.attempts: must be greater than or equal to 1, not 0"),
        (("", "[dicom]\nquiet_s = 0"), r"dicom\.quiet_s: must be greater than 0, not 0"),
        (("", '[dicom]\naddress = "localhost"'), r"dicom\.address: 'localhost' isn't an IP address"),
        (("", '[dicom.tls]\ncertificate = "c"'), r"dicom\.tls\.key: is missing"),
        (("port = 104", "port = 0"), r"destination\[0\]\.port: must be greater than or equal to 1, not 0"),
        (
            ("", '[[sender]]\nae_title = "CT1"\naddress = "10.2.0.1"\nport = 104'),
            r"sender\.port: says where \['CT1'\] gets its answers, but that title is given twice",
        ),
        (("", "[http]\nport = 11112"), r"http\.port: is that of dicom\.port"),
        (("", "[retry]\nfirst_s = 1000"), r"retry\.first_s: must be at most longest_s"),
        (("", "[retry]\nlongest_s = inf"), r"retry\.longest_s: must be a finite number, not inf"),
        (("", "[dicom]\nquiet_s = nan"), r"dicom\.quiet_s: must be a finite number, not nan"),
        (("", "[retention]\nfailed_days = nan"), r"retention\.failed_days: must be a finite number, not nan"),
        (("", "[retention]\nresults_days = -1"), r"retention\.results_days: must be greater than or equal to 0, not -"),
        (("[[sender]]", "[sender]"), r"sender: must be a list \(\[\[sender\]\]\)"),
        (("", "= 5"), r"node\.toml is not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    old, new = change
    text = GOOD.replace(old, new, 1) if old else f"{GOOD}\n{new}\n"
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(written(tmp_path, text))
    assert "\n" not in str(caught.value).split("TOML")[0]
    assert "node.toml" in str(caught.value)


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_config(tmp_path / "none.toml")


def test_the_command_ends_with_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pynetdicom", reason="the service extra isn't installed")
    file = written(tmp_path, GOOD + "[dicom]\nprot = 104\n")
    assert run(["serve", "--config", str(file)]) == 2
    out, err = capsys.readouterr()
    assert err == f"monai-lung: error: {file}: dicom.prot: unknown key; did you mean port?\n"
    assert out == ""
    assert run(["serve", "--config", str(written(tmp_path, GOOD)), "--check"]) == 0
    assert run(["serve", "--config", str(file), "--list"]) == 2
    assert "hasn't run with this configuration yet" in capsys.readouterr().err
    tls = GOOD + '[dicom.tls]\ncertificate = "none.pem"\nkey = "none.pem"\n'
    assert run(["serve", "--config", str(written(tmp_path, tls)), "--check"]) == 2
    assert "dicom.tls: certificate, key or ca can't be used: [Errno 2]" in capsys.readouterr().err
    token = GOOD + WEB + 'token_file = "none"\n[http]\naddress = "0.0.0.0"\n'
    assert run(["serve", "--config", str(written(tmp_path, token)), "--check"]) == 2
    assert "web: password_file or token_file can't be read: No such file" in capsys.readouterr().err
    (tmp_path / "none").write_text("secret")
    assert run(["serve", "--config", str(file), "--check"]) == 0
    assert "http.address: /health and /metrics have no password" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "warning"),
    [
        ("", ""),
        ('[dicom]\naddress = "0.0.0.0"', "dicom.address: images come in without encryption"),
        ('[dicom]\naddress = "0.0.0.0"\ntls = {certificate = "c", key = "k"}', ""),
        ('[http]\naddress = "::"', "http.address: /health and /metrics have no password"),
        (WEB.replace("https", "http") + 'token_file = "t"', "destination web: its password travels without encryption"),
        (WEB + 'token_file = "t"', ""),
        (WEB.replace("https://pacs.example", "http://localhost:8042") + 'token_file = "t"', ""),
    ],
)
def test_what_lets_others_listen_is_said(tmp_path: Path, more: str, warning: str) -> None:
    warnings = read_config(written(tmp_path, f"{GOOD}\n{more}\n")).warnings
    assert len(warnings) == bool(warning)
    assert "".join(warnings).startswith(warning)


def test_addresses() -> None:
    assert Sender("A", "10.1.2.0/24").admits("10.1.2.9")
    assert Sender("A", "10.1.2.0/24").admits("::ffff:10.1.2.9")
    assert not Sender("A", "10.1.2.0/24").admits("10.1.3.9")
    assert not Sender("A", "10.1.2.3").admits("::1")


def test_waiting_doubles_up_to_a_limit() -> None:
    assert [Retry(10, 60).delay_s(n) for n in (1, 2, 3, 4, 5, 10**6)] == [10, 20, 40, 60, 60, 60]


@pytest.mark.parametrize("missing", [("pydantic",), ("pynetdicom",), ("pydantic", "pynetdicom")])
def test_without_the_extra_the_command_says_so(
    tmp_path: Path, missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in missing:
        monkeypatch.setitem(sys.modules, module, None)
    for module in ("config", "config_checks"):  # as if for the first time
        monkeypatch.delitem(sys.modules, f"monai_lung.service.{module}", raising=False)
    assert run(["serve", "--config", str(written(tmp_path, GOOD)), "--check"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"monai-lung: error: monai-lung serve needs {missing[0]} (")
    assert line.endswith('pip install "monai-lung[dicom,service]"')
