"""What one thread does, once, while all others that need it wait.

They wait as Python's import system does, by the same locks: where a thread would wait for one
that waits for it, by whatever locks of imports lie between them, it goes on instead and sees
what there is, as with modules that import each other. A child of `fork` has all of it or
nothing, never a part: who forks waits, too.
"""

import os
from _thread import allocate_lock, get_ident
from importlib._bootstrap import _DeadlockError, _ModuleLock

# Seconds that a fork waits at most for what another thread does, after which it looks each
# time whether that thread waits for it, and that the work waits at most for forks. Handlers
# of others take locks before a fork; none of these waits may last for ever.
_PATIENCE, _LOOK, _FORKS = 60, 0.2, 5


class Once:
    """Calls `work` when `settle` is called first. `name` is a module's, for errors."""

    def __init__(self, name, work):
        self.done = False
        # The thread that does it.
        self.runner = None
        self._name, self._work = name, work
        self._error = None
        self._lock = _ModuleLock(name)
        # Held while it is done, and by a thread that forks.
        self._busy, self._held, self._forker = allocate_lock(), False, None
        self._waiting = set()
        self._at_fork()

    def settle(self):
        """Returns when it is done; at once in the thread that does it. Raises what it
        raised, and after that an error that says so."""
        me = get_ident()
        if self.done or self.runner == me:
            return
        self._check()
        if me in self._waiting:
            self._wait_above()
            return
        self._waiting.add(me)
        try:
            self._lock.acquire()
        except _DeadlockError:
            return
        finally:
            self._waiting.discard(me)
        try:
            if not self.done:
                self._check()
                self._run(me)
        finally:
            # In a child of `fork` it is another.
            self._lock.release()

    def _wait_above(self):
        """Waits in a handler of signals, on top of a call that waits: until Python 3.11, a
        thread may wait for one lock of the import system only. Where nobody does the work yet,
        the call below is about to."""
        while self.runner is not None:
            if self._busy.acquire(timeout=_LOOK):
                self._busy.release()

    def _run(self, me):
        # The handler that is registered last is called first, before others take locks that
        # the work may need.
        self._at_fork()
        self._held = self._busy.acquire(timeout=_FORKS)
        self.runner = me
        try:
            self._work()
            self.done = True
        except BaseException as error:
            self._error = error
            raise
        finally:
            self.runner = None
            if self._held:
                self._busy.release()

    def _check(self):
        error = self._error
        if error is not None:
            raise ImportError(
                f"the body of {self._name}, which this package of taper runs when it is needed, "
                f"did not end ({type(error).__name__}: {error}); with TAPER_EAGER=1 it runs "
                "when it is imported",
                name=self._name,
            ) from error

    def _at_fork(self):
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._after_fork,
            after_in_child=self._in_child,
        )

    def _before_fork(self):
        me = get_ident()
        if self.done or self.runner == me or self._forker == me:
            return
        for _ in range(int(_PATIENCE / _LOOK)):
            if self._busy.acquire(timeout=_LOOK):
                self._forker = me
                return
            if self._lock.has_deadlock():
                return

    def _after_fork(self):
        if self._forker == get_ident():
            self._forker = None
            self._busy.release()

    def _in_child(self):
        if self.done:
            return
        # Threads that hold a lock, or wait for one, are not here.
        self._lock, self._busy = _ModuleLock(self._name), allocate_lock()
        self._forker, self._held = None, False
        self._waiting = set()
        if self.runner == get_ident():
            self._lock.acquire()
            self._held = self._busy.acquire()
        elif self.runner is not None:
            self.runner = None
            self._error = RuntimeError("the process was forked while another thread ran it")
