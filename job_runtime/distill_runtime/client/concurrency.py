"""How many requests at once an endpoint can make use of, found out from its answers alone.

A server that has as many requests as it can work on lets the others wait. More of them bring no more answers then, only
later ones, until they time out. Neither the server's number nor its queue can be asked for.

What answers tell: with n requests under way, and s seconds for an answer of usual length, a server gives n / s such
answers a second (Little's law). A regression over the answers' tokens gives s, so that a few dozen answers of 100 to
32,000 tokens say whether more requests brought more, where counting what is finished would take hours.

* At first the number doubles as long as that brings more (slow start, as in TCP).
* Later it is changed on trial: down when an answer takes twice as long for each token as at best (the sign of a queue,
  as in TCP Vegas), up now and then if it is below the configured number. What decides is the throughput: a server whose
  answers are slower because it works on many is not held back. Trials that fail become ever rarer, so that they cost
  next to nothing where nothing changes.

Several clients of one server, such as shards, each find their own number; to each the others' requests are a part of
the server, so together they may load it more than one would.
"""

from enum import Enum, auto

_START = 256
"""Requests to begin with: about as many as a large server works on at once, and more than most runs ask for."""
_STEP = 0.7
"""A trial changes the number by this factor."""
_ELASTICITY = 0.15
"""More requests pay if throughput grows by at least this power of their number: 11 % for twice as many."""
_QUEUEING = 2.0
"""Times the best seconds a token at which a queue is suspected."""
_GROWING_ROUNDS = 0.5
"""Rounds on which throughput is measured while the number grows."""
_GROWN = 1.2
"""Times as many requests at once as before, on average, are enough more to compare."""
_LEAST_ANSWERS = 32
"""Of a round, where that many requests at once are not allowed."""
_BEST_OF = 16
"""Answers over which the best seconds a token are averaged."""
_FIRST_PAUSE, _LONGEST_PAUSE = 4, 64
"""Rounds, of as many answers as requests at once, between two trials; it doubles with each that fails."""
_LONGEST_TRIAL = 4
"""Rounds that a trial takes if the gain is not clear before."""
_CLEAR_ELASTICITY = 0.5
"""Where throughput grows by this power, one round says enough: a trial that costs throughput ends at once."""


class _Sample:
    """Answers that are put together: sums, of which everything else follows."""

    __slots__ = ("answers", "in_flight", "products", "seconds", "squares", "tokens")

    def __init__(self) -> None:
        self.answers = self.in_flight = self.tokens = self.squares = 0
        self.seconds = self.products = 0.0

    def add(self, in_flight: int, tokens: int, seconds: float) -> None:
        self.answers += 1
        self.in_flight += in_flight
        self.tokens += tokens
        self.seconds += seconds
        self.squares += tokens * tokens
        self.products += tokens * seconds

    @property
    def mean_in_flight(self) -> float:
        return self.in_flight / self.answers

    @property
    def seconds_per_token(self) -> float:
        return self.seconds / self.tokens

    def throughput(self, usual_tokens: float) -> float:
        """Give how many answers of that length come in a second, by linear regression of seconds over tokens."""
        mean_tokens, mean_seconds = self.tokens / self.answers, self.seconds / self.answers
        variance = self.squares / self.answers - mean_tokens**2
        covariance = self.products / self.answers - mean_tokens * mean_seconds
        slope = max(0.0, covariance / variance) if variance > 0 else 0.0
        # A sample of long answers may put those of usual length before their beginning, which no server does.
        seconds = max(mean_seconds + slope * (usual_tokens - mean_tokens), mean_seconds / 10)
        return self.mean_in_flight / seconds


class _Phase(Enum):
    GROWING = auto()
    """The number doubles while that pays."""
    PAUSING = auto()
    """It stays."""
    TRYING = auto()
    """It was changed, and the answers will show whether for the better."""


class ConcurrencySearch:
    """The number for one endpoint. It sees nothing but answers, so it needs no clock.

    Args:
        most: the configured number, which it never exceeds.

    Attributes:
        ceiling: requests that the endpoint should have at once, at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pause = _FIRST_PAUSE
        self._earlier: _Sample | None = None
        self._earlier_ceiling = 0
        self._best = _Sample()
        self._best_seconds_per_token = float("inf")
        self._answers = self._tokens = 0
        if most > _START:
            self._begin(_Phase.GROWING, _START, _GROWING_ROUNDS)
        else:
            self._begin(_Phase.PAUSING, most, self._pause)

    def observe(self, in_flight: int, tokens: int, seconds: float) -> None:
        """Take an answer into account.

        Args:
            in_flight: requests that the endpoint had when this one was sent, itself included.
            tokens: of the answer, at least 1.
            seconds: that it took.
        """
        self._answers += 1
        self._tokens += tokens
        self._best.add(in_flight, tokens, seconds)
        if self._best.answers == _BEST_OF:
            self._best_seconds_per_token = min(self._best_seconds_per_token, self._best.seconds_per_token)
            self._best = _Sample()
        # While it grows, answers belong to an earlier number by the time they come. Otherwise they must have been sent
        # when the number was reached: before that the server was less busy, or busier if the number has just fallen.
        if self._phase is not _Phase.GROWING and not 0.9 * self.ceiling <= in_flight <= self.ceiling:
            return
        self._sample.add(in_flight, tokens, seconds)
        if self._sample.answers < self._enough:
            return
        match self._phase:
            case _Phase.GROWING:
                self._grow(self._sample)
            case _Phase.PAUSING:
                self._try_another(self._sample)
            case _Phase.TRYING:
                self._conclude(self._sample)

    def _begin(self, phase: _Phase, ceiling: int, rounds: float) -> None:
        """Gather a new sample, of so many rounds."""
        self._phase, self.ceiling, self._sample = phase, ceiling, _Sample()
        self._round = max(_LEAST_ANSWERS, ceiling)
        self._enough = rounds * self._round

    def _grow(self, sample: _Sample) -> None:
        """Double the number, or end with what there was before; or wait until the last doubling shows."""
        earlier, ceiling = self._earlier, self.ceiling
        if earlier is None or sample.mean_in_flight > _GROWN * earlier.mean_in_flight:
            if earlier is not None and not self._pays(earlier, sample, _ELASTICITY):
                self._pause_at(round(earlier.mean_in_flight))
                return
            self._earlier = sample
            ceiling = max(ceiling, min(self._most, round(2 * sample.mean_in_flight)))
        if ceiling == self._most:
            self._pause_at(ceiling)
        else:
            self._begin(_Phase.GROWING, ceiling, _GROWING_ROUNDS)

    def _pause_at(self, ceiling: int) -> None:
        self._begin(_Phase.PAUSING, ceiling, self._pause)

    def _try_another(self, sample: _Sample) -> None:
        """Change the number, if there is a reason to."""
        other = self.ceiling
        if self._suspects_queue(sample):
            other = max(1, int(self.ceiling * _STEP))
        elif self.ceiling < self._most:
            other = min(self._most, int(self.ceiling / _STEP) + 1)
        if other == self.ceiling:
            self._pause_at(other)
            return
        self._earlier, self._earlier_ceiling = sample, self.ceiling
        self._begin(_Phase.TRYING, other, 1)

    def _conclude(self, sample: _Sample) -> None:
        """Keep the number that was tried, and go on in that direction, or go back; or wait for more answers."""
        assert self._earlier is not None
        earlier, is_lower = self._earlier, self.ceiling < self._earlier_ceiling
        fewer, more = (sample, earlier) if is_lower else (earlier, sample)
        is_clear = self._pays(fewer, more, _CLEAR_ELASTICITY)
        if not is_clear and sample.answers < _LONGEST_TRIAL * self._round:
            self._enough += self._round
            return
        more_pays = is_clear or self._pays(fewer, more, _ELASTICITY)
        if more_pays == is_lower:
            if is_lower:
                self._best_seconds_per_token = earlier.seconds_per_token  # so long it takes when there is no queue
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            self._pause_at(self._earlier_ceiling)
            return
        self._pause = _FIRST_PAUSE
        if is_lower and not self._suspects_queue(sample):
            self._pause_at(self.ceiling)
        else:
            self._try_another(sample)

    def _suspects_queue(self, sample: _Sample) -> bool:
        return sample.seconds_per_token > _QUEUEING * self._best_seconds_per_token

    def _pays(self, fewer: _Sample, more: _Sample, elasticity: float) -> bool:
        """Tell whether more requests at once brought so much more that they are worth it."""
        usual = self._tokens / self._answers
        worth_it: float = (more.mean_in_flight / fewer.mean_in_flight) ** elasticity
        return more.throughput(usual) >= fewer.throughput(usual) * worth_it
