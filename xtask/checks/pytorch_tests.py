"""Runs tests of PyTorch's own test files and writes down how each of them ended.

    pytorch_tests.py list LOG FILE…       the tests of these modules, one a line
    pytorch_tests.py run LOG IDS FILE…    those of them that the file IDS names

The log gets a line when a test starts and another when it ends, so that whoever started
this process knows which test ended it. Python's unittest is all that this needs: what runs
the tests must not bring more into the process than they do.
"""

import os
import sys
import traceback
import unittest


def tests_of(suite):
    """The single tests of a suite."""
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_of(item)
        else:
            yield item


def named(modules):
    """Each test by what it is called here: the module that was asked for, and its own name."""
    found = {}
    loader = unittest.TestLoader()
    for name in modules:
        __import__(name)
        suite = loader.loadTestsFromModule(sys.modules[name])
        if loader.errors:
            sys.exit(f"{name}: {loader.errors[-1]}")
        for test in tests_of(suite):
            # Some modules gather classes of others; two of these may be called alike.
            found.setdefault(f"{name}:{test.id()}", test)
    return found


class Log(unittest.TestResult):
    """Writes each event at once, past whatever a test does with open files."""

    def __init__(self, path, names):
        super().__init__()
        self.descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self.process = os.getpid()
        self.names = names
        self.ended = set()
        self.outcome = None

    def write(self, event, name, text=""):
        # A child that a test forked and that comes back here has nothing to tell.
        if os.getpid() == self.process:
            line = "\t".join((event, name, " ".join(text.split())[:300])) + "\n"
            os.write(self.descriptor, line.encode(errors="replace"))

    def startTest(self, test):
        super().startTest(test)
        self.outcome = None
        if id(test) in self.names:
            self.write("start", self.names[id(test)])

    def stopTest(self, test):
        super().stopTest(test)
        if id(test) in self.names:
            event, text = self.outcome or ("passed", "")
            self.ended.add(self.names[id(test)])
            self.write(event, self.names[id(test)], text)

    def failed(self, error):
        kind, value = error[:2]
        # The first of several failures is the one to tell.
        if not self.outcome or self.outcome[0] != "failed":
            self.outcome = ("failed", "".join(traceback.format_exception_only(kind, value)))

    def addError(self, test, err):
        super().addError(test, err)
        self.failed(err)
        if id(test) not in self.names:
            # The set-up of a class or a module: its tests do not start.
            self.write("note", test.id(), self.outcome[1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.failed(err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.failed(err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        if self.outcome is None:
            self.outcome = ("skipped", reason)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.outcome = ("failed", "passed, and was expected not to")


def main():
    task, path, *rest = sys.argv[1:]
    # PyTorch's test utilities read the command line when they are imported, and want every
    # test to be of the program that runs. This script's folder has modules that a test must
    # not find.
    sys.argv[1:] = []
    del sys.path[0]
    os.environ["PYTORCH_DISABLE_RUNNING_SCRIPT_CHK"] = "1"
    if task == "list":
        with open(path, "w") as file:
            file.writelines(f"{name}\n" for name in named(rest))
        return
    with open(rest[0]) as file:
        wanted = file.read().split("\n")[:-1]
    tests = named(rest[1:])
    chosen = {name: tests[name] for name in wanted if name in tests}
    log = Log(path, {id(test): name for name, test in chosen.items()})
    # The suite calls the set-up of classes and modules around their tests.
    unittest.TestSuite(chosen.values()).run(log)
    for name in wanted:
        if name not in log.ended:
            log.write("failed", name, "not run" if name in chosen else "there is no such test")


if __name__ == "__main__":
    main()
