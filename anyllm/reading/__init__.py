"""What people do with a stream while it comes: cut it into sentences or lines, watch it, read it several times."""

from __future__ import annotations

from anyllm.reading._progress import Progress
from anyllm.reading._sentences import lines, sentences
from anyllm.reading._tee import Reader, tee

__all__ = ["Progress", "Reader", "lines", "sentences", "tee"]
