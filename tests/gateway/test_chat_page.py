"""The files of the chat page: their bytes, their headers, and what they must not contain."""

from __future__ import annotations

import re

import pytest
import requests
from conftest import ROOT, TIMEOUT

from anyllm.gateway import Config, Gateway, GatewayServer, hash_of
from anyllm.gateway._chat_page import PATHS, page

pytestmark = pytest.mark.once
FILES = ROOT / "anyllm" / "gateway" / "page"


@pytest.mark.parametrize("path", PATHS)
def test_a_file_is_served_as_it_is_and_only_once(path: str) -> None:
    reply = page(path, "")
    assert reply is not None
    assert reply.status == 200
    body = b"".join(reply.body)
    assert body == (FILES / (path[1:] or "index.html")).read_bytes()
    assert reply.headers["Content-Length"] == str(len(body))
    tag = reply.headers["ETag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    for header in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = page(path, header)
        assert again is not None
        assert (again.status, list(again.body)) == (304, [])
        assert again.headers["ETag"] == tag
        assert "Content-Type" not in again.headers
    changed = page(path, '"other"')
    assert changed is not None
    assert changed.status == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("has_it", [False, True])
def test_every_response_has_the_content_security_policy(path: str, has_it: bool) -> None:
    reply = page(path, "*" if has_it else "")
    assert reply is not None
    assert reply.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert reply.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["", "/index.html", "/page", "/page.js/", "/../_page.py", "//", "/page.JS"])
def test_other_paths_are_not_files(path: str) -> None:
    assert page(path, "") is None


def test_the_page_needs_no_key_and_gives_none_away() -> None:
    pytest.importorskip("waitress")
    app = Gateway(Config(server={"port": 0, "list_providers": False}, keys={"me": hash_of("a-key")}))
    with GatewayServer(app) as server:
        for path in PATHS:
            response = requests.get(server.url + path, timeout=TIMEOUT)
            assert response.status_code == 200
            has_it = {"If-None-Match": response.headers["ETag"]}
            assert requests.get(server.url + path, headers=has_it, timeout=TIMEOUT).content == b""
            head = requests.head(server.url + path, timeout=TIMEOUT)
            assert (head.status_code, head.content) == (200, b"")
        assert requests.get(f"{server.url}/v1/models", timeout=TIMEOUT).status_code == 401


def test_the_script_has_no_way_to_make_markup_of_text() -> None:
    """Nor does the page fetch anything from elsewhere."""
    script = "".join(path.read_text("utf-8") for path in FILES.glob("*.js"))
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|\beval\b"
    assert re.findall(rf"{ways}|Function\(", script) == []
    html = (FILES / "index.html").read_text("utf-8")
    assert re.findall(r'(?:src|href)="(?!#)([^"]*)"', html) == ["icon.svg", "page.css", "page.js", "icon.svg"]
    assert re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", html) == []
