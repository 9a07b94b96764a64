"""Runs the tests of one module with CPython's own unittest, and says a line for each:

    python.py MODULE [-CLASS...] [NAME...]

prints `@ NAME ok`, `@ NAME failed REASON` or `@ NAME skipped REASON`. A name is CLASS.METHOD. Without names all of the module's
tests run, except those of a CLASS. No resources are enabled, as in `python -m test` without `-u`.
"""

import faulthandler
import importlib
import sys
import unittest

from test import support


def name(test):
    parts = test.id().split(".")
    return ".".join(parts[-2:])


class Lines(unittest.TestResult):
    """A test has one line, also one with subtests."""

    def __init__(self):
        super().__init__()
        self.said = {}

    def say(self, test, verdict, why=""):
        if test.id() in self.said and self.said[test.id()] != "ok":
            return
        self.said[test.id()] = verdict
        lines = [line for line in why.strip().splitlines() if line.strip()]
        print(f"@ {name(test)} {verdict} {lines[-1].strip() if lines else ''}".rstrip(), flush=True)
        if verdict == "failed":
            print(why, flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        # A test whose subtest has failed comes here too.
        if test.id() not in self.said:
            self.say(test, "ok")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.say(test, "failed", self._exc_info_to_string(err, test))

    def addError(self, test, err):
        super().addError(test, err)
        self.say(test, "failed", self._exc_info_to_string(err, test))

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.say(test, "failed", self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.say(test, "skipped", reason)

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.say(test, "ok")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.say(test, "failed", "it was expected to fail")


def each(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from each(test)
        else:
            yield test


def main():
    faulthandler.enable()
    module, words = sys.argv[1], sys.argv[2:]
    wanted = {word for word in words if not word.startswith("-")}
    unwanted = {word[1:] for word in words if word.startswith("-")}
    # What regrtest says without `-u`.
    support.use_resources = []
    try:
        loaded = importlib.import_module(f"test.{module}")
    except unittest.SkipTest as why:
        print(f"@ {module} skipped {why}")
        return
    suite = unittest.defaultTestLoader.loadTestsFromModule(loaded)
    suite = filtered(suite, lambda test: (not wanted or name(test) in wanted) and name(test).split(".")[0] not in unwanted)
    suite.run(Lines())


def filtered(suite, is_wanted):
    """The suites stay nested, because they set classes and modules up."""
    kept = []
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            kept.append(filtered(test, is_wanted))
        elif is_wanted(test):
            kept.append(test)
    return type(suite)(kept)


if __name__ == "__main__":
    main()
