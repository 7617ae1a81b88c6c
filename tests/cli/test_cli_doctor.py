"""`anyllm doctor`: it finds problems of an installation, prints remedies, and no secrets."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import anyllm
from anyllm._transport.redaction import redact_url
from anyllm.cli import _environment, _installation
from anyllm.cli._doctor import _findings
from anyllm.cli._findings import Finding

pytestmark = pytest.mark.once

TIMEOUT = 120  # seconds
SECRET = "sk-verysecret-0123456789"


def doctor(*folders: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run it with *folders* before everything else on the module path."""
    unset = re.compile(r"_API_KEY$|_PAT$|_PROXY$|_CA_BUNDLE$|^SSL_CERT|^ANYLLM_OFFLINE$|^PYTHON", re.I)
    environment = {name: value for name, value in os.environ.items() if not unset.search(name)}
    return subprocess.run(
        [sys.executable, "-m", "anyllm", "doctor"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        cwd=folders[0] if folders else ROOT,  # the current folder comes first
        env={**environment, "PYTHONPATH": os.pathsep.join(map(str, [*folders, ROOT])), **extra},
    )


def install(folder: Path, name: str, version: str, requires: str = "", **files: str) -> Path:
    """Make *folder* look as if a distribution were installed there."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    required = f"Requires-Dist: {requires}\n" if requires else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}")
    for file, content in files.items():
        (info / f"{file}.json").write_text(content)
    return folder


def lines(done: subprocess.CompletedProcess[str], subject: str) -> list[str]:
    assert done.stderr == ""
    assert all(re.match(r"(ok|warn|fail) ", line) for line in done.stdout.splitlines()), done.stdout
    return [line for line in done.stdout.splitlines() if line.split()[1] == subject]


def test_a_good_installation_is_status_0() -> None:
    done = doctor()
    assert done.returncode == 0, done.stdout
    assert lines(done, "python")[0].startswith("ok ")
    assert lines(done, "sseclient")[0].startswith("ok ")
    for name in ("requests", "urllib3", "sseclient-py", "attrs", "cattrs", "msgspec", "click"):
        assert lines(done, name)[0].startswith("ok "), name


def test_a_foreign_distribution_of_our_name_is_to_be_uninstalled_and_never_installed(tmp_path: Path) -> None:
    done = doctor(install(tmp_path, "anyllm", "9.9"))
    text = "\n".join(lines(done, "anyllm"))
    assert done.returncode == 1
    assert "`pip uninstall anyllm`" in text
    assert "anyllm-channels" in text
    assert not re.search(r"pip install[^`]*\banyllm(?!-channels)", done.stdout)


def test_any_llm_and_other_similar_names_are_not_foreign(tmp_path: Path) -> None:
    install(tmp_path, "any-llm", "1.0")
    assert doctor(install(tmp_path, "anyllm-extra", "1.0")).returncode == 0


def test_a_module_from_an_editable_installation_is_ours(tmp_path: Path) -> None:
    origin = json.dumps({"url": ROOT.as_uri(), "dir_info": {"editable": True}})
    done = doctor(install(tmp_path, "anyllm-channels", anyllm.__version__, direct_url=origin))
    assert lines(done, "anyllm")[0].startswith(f"ok    anyllm        {anyllm.__version__}, from anyllm-channels")


@pytest.mark.parametrize("origin", ["{}", "not JSON", "[]", '{"url": "https://example.org/x"}'])
def test_a_module_from_elsewhere_than_the_distribution_is_a_warning(tmp_path: Path, origin: str) -> None:
    done = doctor(install(tmp_path, "anyllm-channels", anyllm.__version__, direct_url=origin))
    assert lines(done, "anyllm")[0].startswith("warn ")
    assert done.returncode == 0


def test_another_version_than_the_installed_one_is_a_warning(tmp_path: Path) -> None:
    origin = json.dumps({"url": ROOT.as_uri()})
    done = doctor(install(tmp_path, "anyllm-channels", "0.0.1", direct_url=origin))
    assert "reinstall" in lines(done, "anyllm")[0]


def test_both_sseclients_are_reported_with_the_one_to_uninstall(tmp_path: Path) -> None:
    done = doctor(install(tmp_path, "sseclient", "0.0.27"))
    (line,) = lines(done, "sseclient")
    assert line.startswith("warn ")
    assert "`pip uninstall sseclient`, then `pip install --force-reinstall --no-deps sseclient-py`" in line
    assert done.returncode == 0


def test_the_module_of_the_older_sseclient_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "sseclient.py").write_text("class SSEClient:\n    def __init__(self, url, last_id=None): pass\n")
    hidden = doctor(tmp_path)
    assert hidden.returncode == 1
    assert str(tmp_path / "sseclient.py") in lines(hidden, "sseclient")[0]
    assert "uninstall" not in lines(hidden, "sseclient")[0]  # no distribution has brought it
    install(tmp_path, "sseclient", "0.0.27")
    assert "`pip uninstall sseclient`" in lines(doctor(tmp_path), "sseclient")[0]


def test_a_module_sseclient_that_cannot_be_imported_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "sseclient.py").write_text("raise SystemError('broken')\n")
    done = doctor(tmp_path)
    assert lines(done, "sseclient")[0].startswith("fail ")
    assert "SystemError" in done.stdout


def test_an_old_dependency_is_a_failure_with_the_command(tmp_path: Path) -> None:
    done = doctor(install(tmp_path, "msgspec", "0.9.1"))
    (line,) = lines(done, "msgspec")
    assert done.returncode == 1
    assert line.startswith("fail ")
    assert '`pip install -U "msgspec>=' in line


def test_a_missing_dependency_of_the_installed_distribution_is_a_failure(tmp_path: Path) -> None:
    done = doctor(install(tmp_path, "anyllm-channels", anyllm.__version__, "certainly-not-there>=3"))
    assert done.returncode == 1
    assert '`pip install "certainly-not-there>=3"`' in lines(done, "certainly-not-there")[0]


def test_extras_are_not_missed(tmp_path: Path) -> None:
    extra = 'certainly-not-there>=3; extra == "local"'
    assert "certainly" not in doctor(install(tmp_path, "anyllm-channels", anyllm.__version__, extra)).stdout


def test_our_requirements_are_of_the_kind_that_is_understood() -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    requirements = config["options"]["install_requires"].split("\n")[1:]
    assert len(requirements) >= 7
    for requirement in requirements:
        assert re.fullmatch(r"[a-z0-9-]+>=[0-9.]+", requirement), requirement


@pytest.mark.parametrize(
    ("older", "newer"), [("2.4.9", "2.5"), ("2.5rc1", "2.5.1"), ("2.9", "2.10"), ("1.26.18", "2.5"), ("0", "0.1.dev1")]
)
def test_versions_are_compared_as_numbers(older: str, newer: str) -> None:
    assert _installation._release(older) < _installation._release(newer)


def test_trailing_zeros_make_no_difference() -> None:
    assert _installation._release("2.5") == _installation._release("2.5.0")


def test_a_check_that_breaks_is_a_finding() -> None:
    def keys() -> list[Finding]:
        raise OSError("no such disk")

    (finding,) = _findings(keys)
    assert (finding.level, finding.subject) == ("fail", "keys")
    assert "no such disk" in finding.text


# -- the surroundings --------------------------------------------------------------------------------------------------


def test_keys_and_proxy_passwords_are_named_and_never_shown() -> None:
    done = doctor(
        OPENAI_API_KEY=SECRET,
        GROQ_API_KEY=" ",
        HTTPS_PROXY=f"http://user:{SECRET}@proxy.example:3128",
        NO_PROXY="localhost",
    )
    assert lines(done, "keys") == ["ok    keys          OPENAI_API_KEY (openai, openai-responses)"]
    assert "https through http://proxy.example:3128, but not to localhost" in lines(done, "proxies")[0]
    assert SECRET not in done.stdout
    assert "user" not in lines(done, "proxies")[0]


@pytest.mark.parametrize("url", ["u:p@proxy:1", "http://u:p@proxy:1", "socks5h://u:p@proxy:1", "http://u:p@x@proxy:1"])
def test_credentials_of_proxies_of_any_form_are_taken_out(url: str) -> None:
    cleaned = redact_url(url)
    assert cleaned.endswith("proxy:1")
    assert "u:p" not in cleaned


def test_a_ca_bundle_that_does_not_exist_is_a_failure(tmp_path: Path) -> None:
    done = doctor(REQUESTS_CA_BUNDLE=str(tmp_path / "absent.pem"))
    assert done.returncode == 1
    assert lines(done, "certificates")[0].startswith("fail ")
    (tmp_path / "there.pem").touch()
    assert "there.pem (CURL_CA_BUNDLE)" in doctor(CURL_CA_BUNDLE=str(tmp_path / "there.pem")).stdout


def test_missing_weights_are_a_warning_only_offline(tmp_path: Path) -> None:
    online = doctor(ANYLLM_CACHE=str(tmp_path))
    assert lines(online, "weights")[0].startswith("ok ")
    assert "anyllm local download" in lines(online, "weights")[0]
    assert "no" in lines(online, "offline")[0]
    offline = doctor(ANYLLM_CACHE=str(tmp_path), ANYLLM_OFFLINE="1")
    assert lines(offline, "weights")[0].startswith("warn ")
    assert "ANYLLM_OFFLINE" in lines(offline, "offline")[0]
    assert (online.returncode, offline.returncode) == (0, 0)


def test_a_local_model_that_cannot_run_is_a_warning_that_says_why(tmp_path: Path) -> None:
    """This package stands for one whose wheel needs another processor."""
    (tmp_path / "xllamacpp.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    done = doctor(tmp_path, ANYLLM_CACHE=str(tmp_path / "cache"))
    assert lines(done, "local")[0].startswith("warn ")
    assert done.returncode == 0


def test_a_cache_that_cannot_be_written_is_a_warning_that_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = doctor(ANYLLM_CACHE=str(tmp_path / "file" / "cache"))
    (line,) = lines(done, "cache")
    assert line.startswith("warn ")
    assert "cannot be written" in line
    assert "ANYLLM_CACHE" in line
    assert done.returncode == 0  # everything but the local model works


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is a folder that not even root can write to")
def test_a_home_that_cannot_be_written_is_a_warning() -> None:
    (line,) = lines(doctor(HOME="/proc", ANYLLM_CACHE="", XDG_CACHE_HOME=""), "cache")
    assert line.startswith("warn ")
    assert "/proc/.cache/anyllm cannot be written" in line


def test_a_cache_that_can_be_written_is_not_made(tmp_path: Path) -> None:
    """The doctor looks, and leaves everything as it was."""
    (line,) = lines(doctor(ANYLLM_CACHE=str(tmp_path / "a" / "b")), "cache")
    assert line.startswith("ok ")
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_for_the_weights_is_a_warning(tmp_path: Path) -> None:
    wrong = _environment._why_not_writable(tmp_path, 10**18)
    assert wrong is not None
    assert "has room for" in wrong


def test_a_missing_temporary_folder_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(_environment.tempfile, "gettempdir", none)
    found = {finding.subject: finding for finding in _environment.folders()}
    assert found["temporary"].level == "warn"
    assert "TMPDIR" in found["temporary"].text
