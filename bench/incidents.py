"""Synthetic streams with known incidents: noise without incidents, and hosts with one incident each.

A host is the latency of a service, one record per minute: about 25 ms with a daily swing of 30 % and log-normal noise. The
daily peak is at a random hour.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from rcf import StreamDetector
from rcf.datasets import make_series

Record = dict[str, Any]
Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

DAY = 1440
SOON = 10  # a step must be found within this many records
GRACE = 10  # an alarm within this many records after an incident is still right

# ---- noise: stationary (the random walk aside), so that every alarm is false


def _sine(rng: np.random.Generator, n: int) -> Floats:
    return 10.0 * np.sin(2 * np.pi * (np.arange(n) + 50 * rng.random()) / 50) + rng.normal(size=n)


NOISES: dict[str, Draw] = {
    "white": lambda rng, n: rng.normal(size=n),
    "AR(1), 0.9": lambda rng, n: np.asarray(lfilter([1.0], [1.0, -0.9], rng.normal(size=n))),
    "Student t, 3": lambda rng, n: rng.standard_t(3, size=n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "sine of 50 + white": _sine,
    "log-normal": lambda rng, n: rng.lognormal(size=n),
    "Poisson, 3": lambda rng, n: rng.poisson(3.0, size=n).astype(np.float64),
    "rare ones, 1 %": lambda rng, n: (rng.random(n) < 0.01).astype(np.float64),
    "random walk": lambda rng, n: rng.normal(size=n).cumsum(),
    "Pareto, 1.5": lambda rng, n: rng.pareto(1.5, size=n),
}


def noise(kind: str, seed: int, n: int) -> Floats:
    return NOISES[kind](np.random.default_rng([seed, list(NOISES).index(kind)]), n)


def on_noise(runs: int, n: int = 10_000) -> Iterator[Record]:
    """Alarms in `n` records of each kind of noise."""
    for kind in NOISES:
        for seed in range(runs):
            alarms = StreamDetector(random_state=seed).update_many(noise(kind, seed, n)).anomalies
            yield {"noise": kind, "seed": seed, "records": n, "alarms": len(alarms)}


# ---- hosts


def swing(rng: np.random.Generator, n: int) -> Floats:
    """The level of a host without noise."""
    return 25.0 * (1.0 + 0.3 * np.sin(2 * np.pi * (np.arange(n) / DAY + rng.random())))


def alarms_on(x: Floats, seed: int) -> NDArray[np.intp]:
    """The records at which a default detector raises an alarm. There is one record per minute."""
    return StreamDetector(random_state=seed).update_many(x, 60.0 * np.arange(len(x))).anomalies


def within(alarms: NDArray[np.intp], begin: int, end: int) -> bool:
    return bool(((alarms >= begin) & (alarms < end)).any())


def clean(hosts: int) -> Iterator[Record]:
    """Alarms per day on hosts without incidents."""
    for sigma in (0.03, 0.1):
        for seed in range(hosts):
            rng = np.random.default_rng([seed, 1])
            x = swing(rng, 4 * DAY) * np.exp(sigma * rng.normal(size=4 * DAY))
            came = np.bincount(alarms_on(x, seed) // DAY, minlength=4)
            for day, alarms in enumerate(came.tolist(), 1):
                yield {"noise": sigma, "case": f"day {day}", "seed": seed, "alarms": alarms}


def _hour(rng: np.random.Generator) -> tuple[NDArray[np.intp], Floats]:
    return np.arange(600, 660), rng.uniform(15_000.0, 30_000.0, 60)


# outliers before the step: their record numbers and their values
OUTLIERS: dict[str, Callable[[np.random.Generator], tuple[Any, Any]]] = {
    "nothing": lambda rng: ([], []),
    "1000 at 600": lambda rng: ([600], 1e3),
    "30000 at 600": lambda rng: ([600], 3e4),
    "1e30 at 600": lambda rng: ([600], 1e30),
    "30000 at 30": lambda rng: ([30], 3e4),
    "three in eight records": lambda rng: ([600, 603, 607], 3e4),
    "ten in thirty": lambda rng: (np.arange(600, 630, 3), 3e4),
    "an hour at 15-30 000": _hour,
    "five in a day": lambda rng: ([200, 480, 760, 1040, 1320], 3e4),
}


def outliers(hosts: int) -> Iterator[Record]:
    """Whether a doubling of the latency at record 1740 is found within ten records, for each kind of outliers before it."""
    for sigma in (0.06, 0.12):
        for case, what in OUTLIERS.items():
            for seed in range(hosts):
                rng = np.random.default_rng([seed, 2])
                x = swing(rng, 1760) * np.exp(sigma * rng.normal(size=1760))
                x[1740:] *= 2.0
                at, values = what(rng)
                x[at] = values
                found = within(alarms_on(x, seed), 1740, 1740 + SOON)
                yield {"noise": sigma, "case": case, "seed": seed, "found": found}


def early(hosts: int) -> Iterator[Record]:
    """Whether a doubling on the first day is found within ten records."""
    for sigma in (0.06, 0.12):
        for at in (100, 300, 660, 900):
            for seed in range(hosts):
                rng = np.random.default_rng([seed, 3])
                x = swing(rng, at + 20) * np.exp(sigma * rng.normal(size=at + 20))
                x[at:] *= 2.0
                found = within(alarms_on(x, seed), at, at + SOON)
                yield {"noise": sigma, "case": f"step at {at}", "seed": seed, "found": found}


def _third_day(rng: np.random.Generator, sigma: float) -> tuple[Floats, Floats, int]:
    """The level and the noise of four days, and the quietest minute of the third day."""
    level = swing(rng, 4 * DAY)
    return level, sigma * rng.normal(size=4 * DAY), 2 * DAY + int(level[:DAY].argmin())


def incident(kind: str, sigma: float, seed: int) -> tuple[Floats, int, int]:
    """A host with one incident on its third day: its values, the incident's first record and the first one after it."""
    rng = np.random.default_rng([seed, 4])
    level, eps, at = _third_day(rng, sigma)
    end = at + 60
    if kind == "step x 2, an hour":
        level[at:end] *= 2.0
    elif kind == "midday at night, an hour":
        level[at:end] = level.max()
    elif kind == "noise vanishes, 4 hours":
        end = at + 240
        eps[at:end] /= 20.0
    elif kind == "noise doubles, 4 hours":
        end = at + 240
        eps[at:end] *= 2.0
    elif kind == "leak of 2 MB a minute":
        end = at + 800
        level = 4000.0 * (1.0 + (level / 25.0 - 1.0) / 3.0)  # memory of 4 GB varies less than latency
        level[at:end] += 2.0 * np.arange(1, 801)
        eps /= 6.0
    x = level * np.exp(eps)
    if kind == "stuck sensor, 4 hours":
        end = at + 240
        x[at:end] = x[at]
    return x[: end + 60], at, end


INCIDENTS = (
    "step x 2, an hour",
    "midday at night, an hour",
    "stuck sensor, 4 hours",
    "noise vanishes, 4 hours",
    "noise doubles, 4 hours",
    "leak of 2 MB a minute",
)


def incidents(hosts: int) -> Iterator[Record]:
    """Whether each kind of incident is found while it lasts or soon after, and after how many records."""
    for sigma in (0.06, 0.12):
        for kind in INCIDENTS:
            for seed in range(hosts):
                x, begin, end = incident(kind, sigma, seed)
                alarms = alarms_on(x, seed)
                right = alarms[(alarms >= begin) & (alarms < end + GRACE)]
                yield {
                    "noise": sigma,
                    "case": kind,
                    "seed": seed,
                    "found": len(right) > 0,
                    "delay": float(right[0] - begin) if len(right) else float("nan"),
                }


SPIKES = {500: 1200.0, 505: 1350.0, 511: 1100.0, 600: 1500.0, 700: 1050.0}


def spikes(runs: int) -> Iterator[Record]:
    """Whether spikes of 26 to 38 times the usual value among 800 counts are alarms; 505 and 511 belong to the event of 500."""
    for seed in range(runs):
        x = np.random.default_rng(seed).poisson(40.0, 800).astype(np.float64)
        x[list(SPIKES)] = list(SPIKES.values())
        alarms = set(StreamDetector(random_state=seed).update_many(x).anomalies.tolist())
        yield from ({"case": f"spike at {at}", "seed": seed, "found": at in alarms} for at in SPIKES)


def demo(runs: int) -> Iterator[Record]:
    """The five incidents of :func:`rcf.datasets.make_series`: how many are found, and alarms outside them."""
    for seed in range(runs):
        series = make_series(random_state=seed)
        alarms = StreamDetector(random_state=seed).update_many(series.values).anomalies
        right = [(alarms >= begin) & (alarms < end + GRACE) for begin, end in series.anomalies]
        false = int((~np.any(right, axis=0)).sum())
        yield {"seed": seed, "found of 5": sum(bool(hit.any()) for hit in right), "false alarms": false}
