"""Bedrock's URLs and signatures, compared with a signature computed by hand."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from conftest import hide_package

pytest.importorskip("botocore")

from anyllm.errors import AuthenticationError, InvalidRequestError
from anyllm.providers import aws
from anyllm.providers.table.row import UnsignedRequest

HOST = "bedrock-runtime.eu-west-1.amazonaws.com"
URL = f"https://{HOST}/model/us.anthropic.claude-v1%3A0/converse"
PAIR = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "X-Amzn-Trace": "1",
    "x-amz-meta": " a  b ",
}


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has credentials; without those that `no_environment` removes."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Nothing of this machine's, and no asking of the machine's role."""
    import os

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    aws._chain.cache_clear()


def signed(key: str | None = None, url: str = URL, headers: dict[str, str] | None = None, body: bytes = b"{}") -> Any:
    headers_to_sign = HEADERS if headers is None else headers
    return aws.sign(UnsignedRequest(method="POST", url=url, headers=headers_to_sign, body=body, key=key))


def by_hand(added: Any, url: str, headers: dict[str, str], body: bytes, secret: str) -> tuple[str, str, str]:
    """Scope, names of the signed headers, and the signature that must be there."""
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=\w+/(.*), SignedHeaders=(.*), Signature=(.*)", added["Authorization"]
    )
    assert found
    scope, names, _ = found.groups()
    values = {name.lower(): " ".join(value.split()) for name, value in {**headers, **added}.items()}
    values["host"] = urlsplit(url).netloc
    lines = "".join(f"{name}:{values[name]}\n" for name in names.split(";"))
    path = quote(urlsplit(url).path, safe="/")
    canonical = "\n".join(["POST", path, "", lines, names, hashlib.sha256(body).hexdigest()])
    date = added["X-Amz-Date"]
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for step in scope.split("/"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    assert scope.startswith(date[:8] + "/")
    return scope, names, hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


# -- places ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "host"),
    [
        ({}, "bedrock-runtime.us-east-1.amazonaws.com"),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "bedrock-runtime.eu-west-1.amazonaws.com"),
        ({"AWS_REGION": "ap-south-1", "AWS_DEFAULT_REGION": "x"}, "bedrock-runtime.ap-south-1.amazonaws.com"),
        ({"AWS_REGION": " "}, "bedrock-runtime.us-east-1.amazonaws.com"),
        ({"AWS_REGION": "cn-north-1"}, "bedrock-runtime.cn-north-1.amazonaws.com.cn"),
        ({"AWS_REGION": "us-gov-west-1"}, "bedrock-runtime.us-gov-west-1.amazonaws.com"),
    ],
)
def test_the_region_is_the_environments(variables: dict[str, str], host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert aws.resolve_url(aws.BASE_URL, "m") == f"https://{host}"


def test_a_url_without_a_place_for_a_region_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert aws.resolve_url("https://bedrock-runtime.us-east-1.amazonaws.com", "m").endswith("us-east-1.amazonaws.com")
    assert aws.resolve_url("http://localhost:4566", "m") == "http://localhost:4566"


# -- signatures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"{}", "é".encode() * 1000])
def test_pair_signs_the_request(body: bytes) -> None:
    added = signed(PAIR, body=body)
    scope, names, expected = by_hand(added, URL, HEADERS, body, PAIR.partition(":")[2])
    assert added["Authorization"].endswith(f"Signature={expected}")
    assert scope.endswith("/eu-west-1/bedrock/aws4_request")
    assert names == "content-type;host;x-amz-date;x-amz-meta"
    assert set(added) == {"Authorization", "X-Amz-Date"}


def test_session_token_is_sent_and_signed() -> None:
    added = signed(f"{PAIR}:token/with+signs==")
    assert added["X-Amz-Security-Token"] == "token/with+signs=="
    _, names, expected = by_hand(added, URL, HEADERS, b"{}", PAIR.partition(":")[2])
    assert "x-amz-security-token" in names
    assert added["Authorization"].endswith(expected)


def test_dates_and_tokens_of_another_signature_are_not_signed() -> None:
    headers = {"Content-Type": "a", "x-amz-date": "20010101T000000Z", "X-Amz-Security-Token": "old"}
    added = signed(PAIR, headers=headers)
    assert "SignedHeaders=content-type;host;x-amz-date," in added["Authorization"]
    assert added["X-Amz-Date"] > "2024"


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.ap-northeast-1.amazonaws.com", "ap-northeast-1"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("vpce-0a-b1.bedrock-runtime.us-west-2.vpce.amazonaws.com", "us-west-2"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("bedrock-mantle.us-east-2.api.aws", "us-east-2"),
        ("localhost:4566", "us-east-1"),
        ("bedrock-runtime.eu-west-1.amazonaws.com.evil.example", "us-east-1"),
    ],
)
def test_the_region_signed_for_is_the_hosts(host: str, region: str) -> None:
    added = signed(PAIR, f"https://{host}/model/m/converse")
    assert f"/{region}/bedrock/aws4_request" in added["Authorization"]


@pytest.mark.parametrize("key", [":", "ID:", ":SECRET", " : ", ":a:b"])
def test_half_a_pair_is_refused(key: str) -> None:
    with pytest.raises(AuthenticationError, match="ID:SECRET"):
        signed(key)


def test_bedrock_key_is_a_bearer_token() -> None:
    assert signed("ABSKQmVkcm9jaw==") == {"Authorization": "Bearer ABSKQmVkcm9jaw=="}


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
def test_the_callers_own_authorization_wins(name: str) -> None:
    assert signed(PAIR, headers={name: "mine"}) == {}


# -- the environment ---------------------------------------------------------------------------------------------------


def test_without_a_key_the_environments_credentials_sign(monkeypatch: pytest.MonkeyPatch, credentials: None) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    added = signed()
    assert "Credential=AKIDENV/" in added["Authorization"]
    assert added["X-Amz-Security-Token"] == "session"
    assert added["Authorization"].endswith(by_hand(added, URL, HEADERS, b"{}", "secret")[2])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER")
    assert "Credential=AKIDOTHER/" in signed()["Authorization"]


def test_profiles_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id = AKIDWORK\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert "Credential=AKIDWORK/" in signed()["Authorization"]


def test_a_missing_profile_is_our_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    with pytest.raises(AuthenticationError, match="nowhere"):
        signed()


def test_every_error_of_the_chain_is_our_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Here: the program that a profile names for getting credentials is not there."""
    (tmp_path / "config").write_text("[profile run]\ncredential_process = /no/such/program\n")
    monkeypatch.setenv("AWS_PROFILE", "run")
    with pytest.raises(AuthenticationError, match="are not available"):
        signed()


@pytest.mark.parametrize("url", ["https://[::1/model/m/converse", "https://host:port/model/m/converse"])
def test_a_url_that_cannot_be_read_is_our_error(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="base_url"):
        signed(PAIR, url)


def test_missing_credentials_are_an_error_and_are_looked_for_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    with pytest.raises(AuthenticationError, match="AWS_BEARER_TOKEN_BEDROCK"):
        signed()
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = AKIDNEW\naws_secret_access_key = s\n")
    assert "Credential=AKIDNEW/" in signed()["Authorization"]


def test_credentials_are_looked_for_once(monkeypatch: pytest.MonkeyPatch, credentials: None) -> None:
    """They renew themselves; asking a machine for its role again with each request would take as long as an answer."""
    from botocore.session import Session

    sessions: list[Session] = []
    original = Session.get_credentials
    monkeypatch.setattr(Session, "get_credentials", lambda self: sessions.append(self) or original(self))
    for _ in range(3):
        signed()
    assert len(sessions) == 1


def test_bearer_token_of_the_environment_goes_before_the_chain(
    monkeypatch: pytest.MonkeyPatch, credentials: None
) -> None:
    """As it does in AWS's own clients; also for a region that was chosen by its URL."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "ABSK")
    assert signed() == {"Authorization": "Bearer ABSK"}


@pytest.mark.parametrize(
    "host",
    [
        *("localhost:4566", "bedrock-runtime.evil.example", "bedrock-runtime.us-east-1.amazonaws.com.evil.example"),
        *("evil.s3.us-east-1.amazonaws.com", "bedrock-runtime-us-east-1.amazonaws.com", "bedrock.s3.amazonaws.com"),
        *("evil.execute-api.us-east-1.amazonaws.com", "evil.bedrock-runtime.us-east-1.amazonaws.com"),
    ],
)
def test_no_other_host_receives_the_environments_credentials(
    host: str, monkeypatch: pytest.MonkeyPatch, credentials: None
) -> None:
    assert signed(url=f"https://{host}/model/m/converse") == {}
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "ABSK")
    assert signed(url=f"https://{host}/model/m/converse") == {}


def test_the_environments_credentials_are_not_sent_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "ABSK")
    assert signed(url=URL.replace("https:", "http:")) == {}


@pytest.mark.parametrize("name", aws.ENDPOINT_VARS)
def test_endpoint_that_the_environment_names_is_its_own(
    name: str, monkeypatch: pytest.MonkeyPatch, credentials: None
) -> None:
    monkeypatch.setenv(name, "http://localhost:4566/")
    assert "Credential=AKIDENV/" in signed(url="http://localhost:4566/model/m/converse")["Authorization"]
    assert signed(url="http://localhost:4567/model/m/converse") == {}


# -- without botocore --------------------------------------------------------------------------------------------------


@pytest.fixture
def without_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_package(monkeypatch, "botocore")


@pytest.mark.usefixtures("without_botocore")
@pytest.mark.parametrize("key", [None, PAIR])
def test_signing_without_botocore_names_the_package(key: str | None) -> None:
    with pytest.raises(InvalidRequestError, match="pip install botocore"):
        signed(key)


@pytest.mark.usefixtures("without_botocore")
def test_bearer_tokens_need_botocore_for_streams_only() -> None:
    """The error comes before the request, not after an answer that costs money."""
    assert signed("ABSK") == {"Authorization": "Bearer ABSK"}
    with pytest.raises(InvalidRequestError, match="botocore"):
        signed("ABSK", url=URL + "-stream")
