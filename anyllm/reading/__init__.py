"""Reading streams: sentences and lines, progress on the terminal, several readers of one stream."""

from __future__ import annotations

from anyllm.reading._progress import Progress
from anyllm.reading._sentences import lines, sentences
from anyllm.reading._tee import Reader, tee

__all__ = ["Progress", "Reader", "lines", "sentences", "tee"]
