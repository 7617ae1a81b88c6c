"""Checks of the arguments that all limits take."""

from __future__ import annotations

from typing import Any

from anyllm.context import Context, own_error

__all__ = ["check_context", "raise_if_ended"]


def check_context(ctx: Any) -> None:
    if not isinstance(ctx, Context):
        raise TypeError(f"the first argument must be a Context, not {type(ctx).__name__}")


def raise_if_ended(ctx: Context) -> None:
    """Raise the Context's error, if it has one, as a new error of this call."""
    if ctx.error is not None:
        raise own_error(ctx)
