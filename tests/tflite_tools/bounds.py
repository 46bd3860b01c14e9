"""Limits on the memory and the time that a test takes."""

import contextlib
import resource
import signal


@contextlib.contextmanager
def bounded_memory(more: int):
    """Allocations of so many bytes beyond what the process has fail."""
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    former = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + more, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, former)


@contextlib.contextmanager
def bounded_time(seconds: float):
    """What takes longer is an error."""

    def stop(*_):
        raise TimeoutError(f"more than {seconds} s")

    former = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
