"""The figures of the whole queue for Prometheus: any process tells the same, and counters outlive every restart.

Gauges are what the storage has now. Counters and histograms are sums of the kept histograms (``Storage.summed``),
which never fall, since what is pruned is summed up in minute 0. A scrape reads what is new; the first reads everything.
"""

from __future__ import annotations

import platform
import threading
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

import queuectl
from queuectl.api.model import State, bucket_bounds
from queuectl.core.figures import ENDINGS, RUNS
from queuectl.core.rundir import list_workers
from queuectl.web.words import now_ms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from queuectl.api.model import OutboxStat, QueueStat
    from queuectl.api.storage import Storage
    from queuectl.web.site import Site

MINUTE = 60_000
DAY = 24 * 60  # minutes
#: A minute is over when this has passed as well: a settlement may take so long to be written.
SETTLED = 3
#: Minutes are kept one by one for longer than this.
KEPT = 80 * 24 * 60
#: Upper ends of the buckets that are told, in ms: powers of four, which are ends of the kept ones too.
ENDS = tuple(4**n for n in range(1, 14))

Key = tuple[str, str, int]  # queue, measure, bucket


class Totals:
    """The sum of all histograms, ever: what is over is read once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over: Counter[Key] = Counter()
        self._until = -1  # minutes up to this one are in it

    def read(self, storage: Storage, now: int) -> Counter[Key]:
        with self._lock:
            last = max(self._until, now // MINUTE - SETTLED)
            if last - self._until > KEPT:  # what is between may have been summed up meanwhile
                self._over, self._until = Counter(), -1
            if last > self._until:
                self._over += _sums(storage, self._until + 1, last)
                self._until = last
            return self._over + _sums(storage, last + 1, now // MINUTE + 1)


def _sums(storage: Storage, first: int, last: int) -> Counter[Key]:
    sums: Counter[Key] = Counter()
    for sample in storage.summed(first * MINUTE, last * MINUTE, DAY):
        sums[sample.queue, sample.measure, sample.bucket] += sample.n
    return sums


class Exposition(Collector):
    """What one scrape is told."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._totals = Totals()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self, accept: str) -> tuple[bytes, str]:
        """The body, and its content type: OpenMetrics for who asks for it."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        storage, now = self._site.storage, now_ms()
        yield self._build()
        stats = storage.stat()
        yield from _queues(stats, now)
        yield from _attempts(self._totals.read(storage, now))
        yield from self._workers(storage, now, sum(stat.counts.get(State.PROCESSING, 0) for stat in stats))
        yield from _sizes(storage)
        yield from _outbox(storage.outbox(), now)
        yield self._plugins()

    def _build(self) -> Metric:
        value = {
            "version": queuectl.__version__,
            "python": platform.python_version(),
            "storage": self._site.config.main.storage,
        }
        return InfoMetricFamily("queuectl_build", "What runs here.", value)

    def _workers(self, storage: Storage, now: int, busy: int) -> Iterator[Metric]:
        alive = [pool for pool in storage.pools() if pool.lease_until > now]
        yield GaugeMetricFamily("queuectl_pools", "Pools that have a lease, on every host.", len(alive))
        slots = GaugeMetricFamily("queuectl_worker_slots", "Workers of those pools.", sum(p.workers for p in alive))
        yield slots
        yield GaugeMetricFamily("queuectl_worker_slots_busy", "Jobs that pools hold, on every host.", busy)
        states = Counter({"idle": 0, "busy": 0, "gone": 0})
        for worker in list_workers(self._site.app.run_dir):
            states["gone" if not worker.alive else "busy" if worker.job else "idle"] += 1
        gauge = GaugeMetricFamily("queuectl_workers", "Workers of this host.", labels=["state"])
        for state, n in states.items():
            gauge.add_metric([state], n)
        yield gauge

    def _plugins(self) -> Metric:
        counter = CounterMetricFamily(
            "queuectl_plugin_errors", "What went wrong in hooks, in this process.", labels=["plugin", "hook"]
        )
        for failure in self._site.plugins.failures:
            counter.add_metric([failure.plugin, failure.hook], failure.count)
        return counter


def _queues(stats: Iterable[QueueStat], now: int) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("queuectl_jobs", "Jobs by state.", labels=["queue", "state"])
    ready = GaugeMetricFamily("queuectl_queue_ready", "Jobs that are due.", labels=["queue"])
    age = GaugeMetricFamily(
        "queuectl_queue_oldest_age_seconds", "How long the next job has been due.", labels=["queue"]
    )
    used = GaugeMetricFamily("queuectl_queue_in_use", "Jobs of it that run, against its limit.", labels=["queue"])
    paused = GaugeMetricFamily("queuectl_queue_paused", "1: no job of it starts.", labels=["queue"])
    limit = GaugeMetricFamily("queuectl_queue_concurrency_limit", "Most running at once, if any.", labels=["queue"])
    seconds = CounterMetricFamily("queuectl_run_seconds", "Time that attempts took, ever.", labels=["queue"])
    for stat in stats:
        for state in State:
            jobs.add_metric([stat.name, state.value], stat.counts.get(state, 0))
        ready.add_metric([stat.name], stat.ready)
        used.add_metric([stat.name], stat.counts.get(State.PROCESSING, 0))
        age.add_metric([stat.name], max(0, now - stat.oldest_due) / 1000 if stat.oldest_due is not None else 0)
        paused.add_metric([stat.name], int(stat.paused))
        if stat.limit is not None:
            limit.add_metric([stat.name], stat.limit)
        seconds.add_metric([stat.name], stat.run_ms / 1000)
    yield from (jobs, ready, used, age, paused, limit, seconds)


def _sizes(storage: Storage) -> Iterator[Metric]:
    size = GaugeMetricFamily("queuectl_storage_size_bytes", "What the storage takes where it lies.", labels=["part"])
    for part, n in storage.sizes().items():
        size.add_metric([part], n)
    yield size


def _outbox(stats: Iterable[OutboxStat], now: int) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("queuectl_outbox_waiting", "Events that wait to be told.", labels=["notifier"])
    age = GaugeMetricFamily(
        "queuectl_outbox_oldest_age_seconds", "How long the oldest of them has waited.", labels=["notifier"]
    )
    ended = CounterMetricFamily(
        "queuectl_deliveries",
        "Events that were told, or dropped because nobody could be.",
        labels=["notifier", "result"],
    )
    for stat in stats:
        waiting.add_metric([stat.target], stat.waiting)
        age.add_metric([stat.target], max(0, now - stat.oldest_at) / 1000 if stat.oldest_at is not None else 0)
        ended.add_metric([stat.target, "delivered"], stat.delivered)
        ended.add_metric([stat.target, "dropped"], stat.dropped)
    yield from (waiting, age, ended)


def _attempts(totals: Counter[Key]) -> Iterator[Metric]:
    """Counters and histograms out of the sum of all."""
    histograms: defaultdict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for (queue, measure, bucket), n in totals.items():
        histograms[queue, measure][bucket] += n
    enqueued = CounterMetricFamily("queuectl_jobs_enqueued", "Jobs that were put in.", labels=["queue"])
    started = CounterMetricFamily("queuectl_jobs_started", "Attempts that began.", labels=["queue"])
    finished = CounterMetricFamily("queuectl_jobs_finished", "Attempts that ended.", labels=["queue", "outcome"])
    retries = CounterMetricFamily(
        "queuectl_job_retries", "Attempts that failed with a retry to come.", labels=["queue"]
    )
    dead = CounterMetricFamily("queuectl_jobs_dead", "Jobs that failed for good.", labels=["queue"])
    wait = HistogramMetricFamily("queuectl_job_wait_seconds", "From due to started.", labels=["queue"])
    run = HistogramMetricFamily(
        "queuectl_job_run_seconds", "Of attempts that ended by themselves.", labels=["queue", "outcome"]
    )
    for queue in sorted({queue for queue, _ in histograms}):
        # With zeros, too: a rate sees nothing of a series that begins with its first event.
        enqueued.add_metric([queue], histograms[queue, "enqueued"].total())
        waited = histograms[queue, "wait"]
        started.add_metric([queue], waited.total())
        wait.add_metric([queue], *_buckets(waited))
        for ending in ENDINGS:
            finished.add_metric([queue, ending], histograms[queue, ending].total())
        for ending in RUNS:
            run.add_metric([queue, ending], *_buckets(histograms[queue, ending]))
        retries.add_metric([queue], histograms[queue, "failed"].total())
        dead.add_metric([queue], histograms[queue, "dead"].total())
    yield from (enqueued, started, finished, retries, dead, wait, run)


def _buckets(histogram: Mapping[int, int]) -> tuple[list[tuple[str, float]], float]:
    """Cumulated buckets in seconds, and the sum of all (of the middles of the kept buckets)."""
    buckets: list[tuple[str, float]] = []
    for end in ENDS:
        below = sum(n for bucket, n in histogram.items() if bucket_bounds(bucket)[1] < end)
        buckets.append((f"{end / 1000:g}", below))
    buckets.append(("+Inf", sum(histogram.values())))
    return buckets, sum(n * sum(bucket_bounds(bucket)) / 2 for bucket, n in histogram.items()) / 1000
