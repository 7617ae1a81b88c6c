"""Types of parameters for the tests of tools, and the schema of a function's parameters."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, Dict, Optional

import attrs

from anyllm.tools import Tool


class Unit(enum.Enum):
    CELSIUS = "C"
    FAHRENHEIT = "F"


@attrs.define
class Place:
    """Where on the earth."""

    lat: float = attrs.field(validator=attrs.validators.ge(-90))
    lon: float
    name: Optional[str] = None


@dataclasses.dataclass
class Range:
    first: int
    last: int = 9


def schema(function: Any, **options: Any) -> Dict[str, Any]:
    parameters: Dict[str, Any] = Tool(function, **options).definition["function"]["parameters"]
    return parameters
