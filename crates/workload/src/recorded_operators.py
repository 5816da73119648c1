

def _taper_record():
    # torch.int is a dtype here.
    import atexit
    import builtins
    import os
    import time

    from torch._C import _profiler

    folder = os.environ.get("_TAPER_RECORD")
    if not folder:
        return
    running = ""

    def start():
        nonlocal running
        # Numbers of processes come again.
        path = os.path.join(folder, f"{os.getpid()}-{time.monotonic_ns()}.json")
        if _profiler._add_execution_trace_observer(path):
            _profiler._enable_execution_trace_observer()
            running = path

    def stop():
        nonlocal running
        if running:
            running = ""
            _profiler._disable_execution_trace_observer()
            _profiler._remove_execution_trace_observer()

    def before():
        # No other thread may be within the observer: its lock would stay closed in the child.
        if running:
            _profiler._disable_execution_trace_observer()

    def after_in_parent():
        if running:
            _profiler._enable_execution_trace_observer()

    def after_in_child():
        # What is buffered for the file is the parent's, which writes it itself.
        nonlocal running
        if not running:
            return
        nothing = os.open(os.devnull, os.O_WRONLY)
        for name in os.listdir("/proc/self/fd"):
            try:
                if os.readlink("/proc/self/fd/" + name) == running:
                    os.dup2(nothing, builtins.int(name), inheritable=False)
            except OSError:
                pass
        os.close(nothing)
        running = ""
        _profiler._remove_execution_trace_observer()
        start()

    def first(function):
        # What ends this program without its exit handlers.
        def call(*arguments, **named):
            stop()
            return function(*arguments, **named)

        return call

    start()
    atexit.register(stop)
    os.register_at_fork(
        before=before, after_in_parent=after_in_parent, after_in_child=after_in_child
    )
    os._exit = first(os._exit)
    os.execv = first(os.execv)
    os.execve = first(os.execve)


_taper_record()
del _taper_record
