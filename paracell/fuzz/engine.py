"""The fuzzer: rounds of tries, the corpus that they build, and the first finding.

All that a round's tries come from is the seed, their numbers, and the corpus before the round; their results are put together in
the order of the numbers.  So a run is the same on any machine, and with any number of ``-jobs``.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from .finding import FindingFile
from .pool import Pool
from .work import ROUND, Result, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from .target import Target

_FIRST: Final = 2  # pulses come at powers of two, as libFuzzer's do


class Engine:
    """Fuzzes a target.

    Attributes:
        done: how many tries have been made, inputs of the corpus aside.
        inputs: the inputs that showed something new, in the order in which they did.
        features: how many things were shown.

    """

    def __init__(
        self,
        target: Target,
        spec: str,
        *,
        seed: int = 1,
        max_len: int = 0,
        jobs: int = 1,
        keep: Callable[[bytes], None] = lambda _: None,
        say: Callable[[str], None] = lambda _: None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Make it; `keep` gets each new input of the corpus, `say` a line now and then, `warn` what went wrong."""
        self._target, self._spec, self._seed = target, spec, seed
        most = max_len or target.max_len
        self._work: Work | Pool = Work(target, seed, most) if jobs == 1 else Pool(jobs, spec, target, seed, most, warn)
        self._keep, self._say = keep, say
        self._seen: set[Hashable] = set()
        self.done = 0
        self._pulse = _FIRST

    @property
    def inputs(self) -> Sequence[bytes]:
        """The corpus, in the order in which it came."""
        return self._work.corpus

    @property
    def features(self) -> int:
        """How many different things have been shown."""
        return len(self._seen)

    def replay(
        self, inputs: Sequence[bytes], stopped: Callable[[], bool] = lambda: False, *, new: bool = False
    ) -> FindingFile | None:
        """Run inputs that somebody has, and begin the corpus with those that show something; with `new` they are kept in it, too."""
        results = self._work.inputs([(i - len(inputs), data) for i, data in enumerate(inputs)], stopped)
        return self._take(results, keep=new)

    def run(
        self,
        runs: int = -1,
        seconds: float = 0,
        stopped: Callable[[], bool] = lambda: False,
    ) -> FindingFile | None:
        """Make tries until one is a finding, until there were `runs` (-1: no end), for so many `seconds`, or until `stopped`."""
        end = time.monotonic() + seconds if seconds else math.inf

        def over() -> bool:
            return stopped() or time.monotonic() >= end

        while (runs < 0 or self.done < runs) and not over():
            count = ROUND if runs < 0 else min(ROUND, runs - self.done)
            results = self._work.tries(range(self.done, self.done + count), over)
            finding = self._take(results, keep=True)
            self.done = finding.number + 1 if finding else self._last(results, count, stopped=over())
            if finding:
                return finding
            if self.done >= self._pulse:
                self._say(self.status("pulse"))
                self._pulse = 1 << self.done.bit_length()
        return None

    def _last(self, results: Sequence[Result], count: int, *, stopped: bool) -> int:
        """Give how many tries there were; of a round that was broken off, what is known to be done."""
        if stopped:
            return max((self.done, *(r.number + 1 for r in results)))
        return self.done + count

    def _take(self, results: Iterable[Result], *, keep: bool) -> FindingFile | None:
        """Take the results up to the first finding."""
        for number, data, features, found in results:
            if found is not None:
                target = self._target
                return FindingFile(self._spec, target.options, found, data, target.digest(), self._seed, number)
            new = [f for f in features if f not in self._seen]
            if new:
                self._seen.update(new)
                self._work.corpus.append(data)
                if keep:
                    self._keep(data)
        return None

    def status(self, word: str) -> str:
        """Give a line that says how far it is."""
        size = sum(map(len, self.inputs))
        return f"#{self.done}\t{word} ft: {self.features} corp: {len(self.inputs)}/{size}b"

    def close(self) -> None:
        """End the processes, and take coverage's hooks away; the target stays."""
        self._work.close()
