"""Tencent Cloud's signature, compared with the published example and with the official client's."""

from __future__ import annotations

import contextlib
import json
import warnings
from typing import Any, Iterator

import pytest
from choice_streams import answering

import anyllm
from anyllm._transport.http import Transport
from anyllm.errors import AuthenticationError, MissingAPIKeyError
from anyllm.providers import tencent
from anyllm.providers.provider import Provider
from anyllm.providers.table.row import Row, UnsignedRequest
from anyllm.wire.hunyuan.dialect import HunyuanDialect

URL = "https://hunyuan.tencentcloudapi.com/"
JSON = {"Content-Type": "application/json"}
PAIR = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE:Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"
VECTOR = "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"


def signable(**changes: Any) -> UnsignedRequest:
    fields = {"method": "POST", "url": URL, "headers": JSON, "body": b"{}", "key": PAIR}
    return UnsignedRequest(**{**fields, **changes})


def authorization(**changes: Any) -> str:
    return tencent.sign_at(signable(**changes), 1551113065)["Authorization"]


def test_published_vector() -> None:
    """From https://cloud.tencent.com/document/api/213/30654."""
    request = signable(
        url="https://cvm.tencentcloudapi.com/",
        headers={"Content-Type": "application/json; charset=utf-8"},
        body=rb'{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}',
    )
    assert tencent.sign_at(request, 1551113065, service="cvm") == {
        "Authorization": "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2019-02-25/cvm/tc3_request, "
        f"SignedHeaders=content-type;host, Signature={VECTOR}",
        "X-TC-Timestamp": "1551113065",
    }


def test_everything_that_is_signed_changes_the_signature() -> None:
    signatures = {
        authorization(),
        authorization(body=b"{ }"),
        authorization(headers={"Content-Type": "text/plain"}),
        authorization(url="https://hunyuan.ap-guangzhou.tencentcloudapi.com/"),
        authorization(url="https://hunyuan.tencentcloudapi.com/other"),
        authorization(key="id:secret"),
        tencent.sign_at(signable(), 1551113066)["Authorization"],
        tencent.sign_at(signable(), 1551113065, service="cvm")["Authorization"],
    }
    assert len(signatures) == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "https://hunyuan.tencentcloudapi.com"},
        {"url": "https://hunyuan.tencentcloudapi.com:443/"},
        {"url": "https://user:word@hunyuan.tencentcloudapi.com/"},
        {"url": "https://HUNYUAN.tencentcloudapi.com/"},
        {"url": "https://hunyuan.tencentcloudapi.com/?x=1"},
        {"headers": {"content-type": " Application/JSON "}},
        {"headers": {**JSON, "X-Other": "1"}},
        {"url": "http://127.0.0.1:8080/", "headers": {**JSON, "host": "hunyuan.tencentcloudapi.com"}},
        {"key": f" {PAIR.replace(':', ' : ')}\n"},
    ],
)
def test_equal_requests_on_the_wire_have_equal_signatures(changes: Any) -> None:
    assert authorization(**changes) == authorization()


def test_a_port_in_the_host_header_is_signed() -> None:
    with_port = authorization(url="http://127.0.0.1:8080/")
    assert with_port == authorization(headers={**JSON, "Host": "127.0.0.1:8080"})
    assert with_port != authorization(url="http://127.0.0.1/")
    assert authorization(url="http://[::1]:80/") == authorization(headers={**JSON, "Host": "[::1]"})


def test_time_is_now_and_region_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENCENT_REGION", raising=False)
    monkeypatch.setattr(tencent.time, "time", lambda: 1551113065.9)
    assert tencent.sign(signable()) == tencent.sign_at(signable(), 1551113065)
    monkeypatch.setenv("TENCENT_REGION", "ap-guangzhou")
    assert tencent.sign(signable())["X-TC-Region"] == "ap-guangzhou"
    assert "X-TC-Region" not in tencent.sign(signable(headers={**JSON, "x-tc-region": "ap-beijing"}))


def test_temporary_pair_has_a_token() -> None:
    headers = tencent.sign_at(signable(key=f"{PAIR}:the:token"), 1551113065)
    assert headers["X-TC-Token"] == "the:token"
    assert headers["Authorization"] == authorization()


@pytest.mark.parametrize("key", [None, ""])
def test_a_missing_key_names_the_variables(key: Any) -> None:
    with pytest.raises(MissingAPIKeyError, match="TENCENT_SECRET_ID and TENCENT_SECRET_KEY"):
        tencent.sign(signable(key=key))


@pytest.mark.parametrize("key", ["sk-no-colon", ":", "id:", ":secret", " : ", "i d:secret", "id:se\ncret", "ïd:secret"])
def test_a_key_that_is_not_a_pair_is_rejected_and_not_printed(key: str) -> None:
    with pytest.raises(AuthenticationError, match="SECRET_ID:SECRET_KEY") as caught:
        tencent.sign(signable(key=key))
    assert len(key) < 5 or key not in str(caught.value)


# -- the official client -----------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("text", ["Hi", "你好", 'quote " and \\u0041', "😀" * 50, "", "a\nb"])
@pytest.mark.parametrize("now", [0, 1551113065, 1767225599, 4102444800])
def test_official_client_signs_the_same(text: str, now: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tencentcloud.hunyuan")
    from tencentcloud.common import abstract_client, credential
    from tencentcloud.common.profile.client_profile import ClientProfile
    from tencentcloud.common.profile.http_profile import HttpProfile
    from tencentcloud.hunyuan.v20230901.hunyuan_client import HunyuanClient

    monkeypatch.setattr(abstract_client.time, "time", lambda: float(now))
    with (
        answering(b'{"Response": {"RequestId": "r"}}', "application/json") as (url, captured),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", DeprecationWarning)
        profile = ClientProfile(
            httpProfile=HttpProfile(protocol="http", endpoint=url.partition("//")[2], keepAlive=False)
        )
        client = HunyuanClient(credential.Credential(*PAIR.split(":")), "ap-guangzhou", profile)
        client.call_json("ChatCompletions", {"Model": "m", "Messages": [{"Role": "user", "Content": text}]})
    ours = tencent.sign_at(
        signable(url=f"{url}/", headers={"content-type": captured.headers["content-type"]}, body=captured.raw),
        now,
    )
    assert captured.headers["authorization"] == ours["Authorization"]
    assert captured.headers["x-tc-timestamp"] == ours["X-TC-Timestamp"]


# -- through the provider ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def hunyuan(answer: Any) -> Iterator[Any]:
    """A provider whose server gives this answer, what that was sent, and its URL."""
    body = json.dumps({"Response": answer}).encode()
    with answering(body, "application/json") as (url, captured):
        row = Row(name="hunyuan", dialect=HunyuanDialect(), base_url=url, key_pair_vars=("A", "B"), sign=tencent.sign)
        with contextlib.closing(Provider(row, transport=Transport())) as host:
            yield host, captured, url


PARAMS = {"model": "m", "messages": [{"role": "user", "content": "你好"}]}


def test_a_sent_request_has_a_valid_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """The received headers, host and content type included, are the signed ones."""
    monkeypatch.setattr(tencent.time, "time", lambda: 1551113065)
    answer = {"Choices": [{"Index": 0, "Message": {"Role": "assistant", "Content": "Hi"}, "FinishReason": "stop"}]}
    with hunyuan(answer) as (host, captured, url):
        assert host.completion(anyllm.Context(timeout=30), PARAMS, api_key=PAIR).content == "Hi"
    arrived = signable(url=f"{url}/", headers=captured.headers, body=captured.raw)
    assert captured.headers["authorization"] == tencent.sign_at(arrived, 1551113065)["Authorization"]
    assert captured.headers["x-tc-action"] == "ChatCompletions"
    assert captured.headers["x-tc-version"] == "2023-09-01"


def test_an_error_for_the_whole_call_ends_a_stream() -> None:
    """The provider sends it with status 200, and as JSON for a stream."""
    error = {"Error": {"Code": "AuthFailure.SecretIdNotFound", "Message": "unknown id"}, "RequestId": "r"}
    with hunyuan(error) as (host, _, _url):
        with pytest.raises(AuthenticationError, match="unknown id") as caught:
            host.completion_stream(anyllm.Context(timeout=30), PARAMS, api_key=PAIR).collect()
        assert caught.value.request_id == "r"
        with pytest.raises(AuthenticationError, match="SECRET_ID:SECRET_KEY"):
            host.completion(anyllm.Context(timeout=30), PARAMS, api_key="sk-1")
