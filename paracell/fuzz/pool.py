"""The processes of ``-jobs``: each has a target of its own, and does its share of a round.

Who dies is told of and replaced, and the new one does the share again.  If it dies at the same try again, that try is a finding.
"""

from __future__ import annotations

import multiprocessing
import signal
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Final

from ..problem import Problem
from .target import Found
from .targets import make_target
from .work import Result, Work, make_input

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.context import SpawnProcess

    from .target import Options, Target

_OURS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK: Final = 0.2  # seconds between two looks whether to stop
_NOTHING: Final = -(1 << 62)  # the number of no try


def serve(
    pipe: Connection,
    spec: str,
    options: Options,
    words: tuple[bytes, ...],
    seed: int,
    max_len: int,
    now: Any,
    over: Any,
    corpus: Sequence[bytes],
) -> None:
    """Be one of the processes: do what comes by the pipe until it is closed."""
    for number in _OURS:
        signal.signal(number, signal.SIG_IGN)  # whoever started us says when it is over

    def at(number: int) -> None:
        now.value = number

    target = make_target(spec, options)
    target.dictionary = words
    work = Work(target, seed, max_len, at)
    work.corpus.extend(corpus)
    with suppress(EOFError, BrokenPipeError):
        while True:
            new, share = pipe.recv()
            work.corpus.extend(new)
            pipe.send((work.inputs if isinstance(share, list) else work.tries)(share, lambda: bool(over.value)))


class _Member:
    """One process, and what it has been told."""

    def __init__(self, start: Callable[[Any, Connection, Sequence[bytes]], SpawnProcess]) -> None:
        self._start = start
        self.process: SpawnProcess | None = None
        self.known = 0  # inputs of the corpus
        self.died_at = _NOTHING

    def begin(self, corpus: Sequence[bytes]) -> None:
        context = multiprocessing.get_context("spawn")
        self.now = context.Value("q", _NOTHING, lock=False)
        self.pipe, theirs = context.Pipe()
        self.process = self._start(self.now, theirs, corpus)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)  # until the process ignores them
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.known = len(corpus)

    def send(self, corpus: Sequence[bytes], share: Any) -> None:
        with suppress(OSError):  # it has died: `receive` sees that
            self.pipe.send((corpus[self.known :], share))
        self.known = len(corpus)


class Pool:
    """Several processes that do the tries of a round, with the same results as one."""

    def __init__(
        self, jobs: int, spec: str, target: Target, seed: int, max_len: int, warn: Callable[[str], None]
    ) -> None:
        self._target, self._seed, self._max_len, self._warn = target, seed, max_len, warn
        self._over = over = multiprocessing.get_context("spawn").Value("b", False, lock=False)

        def start(now: Any, pipe: Connection, corpus: Sequence[bytes]) -> SpawnProcess:
            arguments = (pipe, spec, target.options, target.dictionary, seed, max_len, now, over, tuple(corpus))
            return multiprocessing.get_context("spawn").Process(target=serve, args=arguments, daemon=True)

        self.corpus: list[bytes] = []
        self._members = [_Member(start) for _ in range(jobs)]
        for each in self._members:
            each.begin(self.corpus)

    def tries(self, numbers: range, stopped: Callable[[], bool] = lambda: False) -> list[Result]:
        """Run these, or until `stopped` says so."""
        return self._share(numbers, stopped)

    def inputs(self, inputs: Sequence[tuple[int, bytes]], stopped: Callable[[], bool] = lambda: False) -> list[Result]:
        """Run these inputs, or until `stopped` says so."""
        return self._share(list(inputs), stopped)

    def _share(self, work: Sequence[Any], stopped: Callable[[], bool]) -> list[Result]:
        shares = [work[i :: len(self._members)] for i in range(len(self._members))]
        waiting = {}
        for member, share in zip(self._members, shares, strict=True):
            if len(share):
                member.send(self.corpus, share)
                waiting[member.pipe] = member, share
        results: list[Result] = []
        while waiting:
            self._over.value = stopped()
            for pipe in wait(list(waiting), _LOOK):
                assert isinstance(pipe, Connection)
                member, share = waiting.pop(pipe)
                try:
                    results += pipe.recv()
                except (EOFError, OSError):
                    died = self._replace(member, share)
                    if died is None:
                        waiting[member.pipe] = member, share
                    else:
                        results.append(died)
        return sorted(results, key=lambda r: r.number)

    def _replace(self, member: _Member, share: Any) -> Result | None:
        """Give the share to a new process, unless it is the second that dies at the same try."""
        assert member.process is not None
        member.process.join()
        number, how = member.now.value, _how(member.process.exitcode or 0)
        if number == _NOTHING:
            raise Problem(f"a process of -jobs {how} before it had done anything")
        again = number == member.died_at
        member.died_at = number
        member.begin(self.corpus)
        if again:
            data = next((d for n, d in share if n == number), b"") if isinstance(share, list) else None
            if data is None:
                data = make_input(self._target, self._seed, number, self._max_len, self.corpus)
            return Result(number, data, [], Found(f"the process that ran it {how}"))
        self._warn(f"a process of -jobs {how} at try {number}; another one does its share again")
        member.send(self.corpus, share)
        return None

    def close(self) -> None:
        """End the processes."""
        for each in self._members:
            each.pipe.close()
            if each.process is not None:
                each.process.join(5)
                if each.process.is_alive():
                    each.process.kill()


def _how(status: int) -> str:
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
