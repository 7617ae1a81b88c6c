"""
A pytest plugin: how many tests carry each mark that needs something special, and, where ``ANYLLM_NO_SKIPS`` is set, a
failed run if any of them was skipped. A check that silently skips what it is there for is none. It also says when the
long tests were left out.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from recordings import is_long

MARKS = ("recordings", "fork", "gevent", "model")
#: What there may be no way to have.
OPTIONAL = ("browser",)


class MarksReport:
    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and not report.skipped:
            return
        if report.skipped and "got empty parameter set" in str(report.longrepr):
            return  # a test of each of nothing: no recording has what it is about
        outcome = self.skipped if report.skipped else self.ran
        outcome.update(mark for mark in (*MARKS, *OPTIONAL) if mark in report.keywords)

    def forbidden(self) -> bool:
        return any(self.skipped[mark] for mark in MARKS) and bool(os.environ.get("ANYLLM_NO_SKIPS"))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.forbidden() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for mark in sorted(self.ran.keys() | self.skipped.keys()):
            terminalreporter.write_line(f"marked {mark}: {self.ran[mark]} ran, {self.skipped[mark]} skipped")
        if not is_long():
            terminalreporter.write_line("the long tests were left out: pytest --long runs them too")
        if self.forbidden():
            terminalreporter.write_line("ANYLLM_NO_SKIPS is set: the skipped tests above fail this run", red=True)
