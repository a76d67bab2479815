import json
import threading
import urllib.request

import pytest

from distill_runtime.contract import Progress
from distill_runtime.process.progress import RecentRate, Reporter, describe
from distill_runtime.process.progress_server import metric_lines, start_server


def rate_of(*samples: tuple[float, int]) -> RecentRate:
    rate = RecentRate()
    for now, done in samples:
        rate.add(now, done)
    return rate


def test_the_rate_is_that_of_what_was_done_since_the_first_sample() -> None:
    assert rate_of((0, 5000), (10, 5100)).at(10) == pytest.approx(10)


def test_silence_lowers_the_rate() -> None:
    assert rate_of((0, 0), (10, 100)).at(20) == pytest.approx(5)


def test_only_the_last_minute_counts() -> None:
    rate = rate_of(*[(float(second), second * 100) for second in range(100)])
    for second in range(100, 200):
        rate.add(float(second), 10_000 + second)
    assert rate.at(199) == pytest.approx(1, rel=0.05)


def test_there_is_no_rate_before_anything_is_done() -> None:
    assert rate_of().at(10) is None
    assert rate_of((0, 7)).at(10) is None


def test_samples_that_follow_closely_do_not_pile_up() -> None:
    rate = rate_of(*[(index / 1000, index) for index in range(10_000)])
    assert len(rate._samples) < 30
    assert rate.at(9.999) == pytest.approx(1000, rel=0.01)


def test_updates_change_what_they_name_and_keep_the_rest() -> None:
    reporter = Reporter("filter", "rows")
    reporter.update(done=1, total=10, counts={"kept": 1}, message="busy")
    reporter.update(done=2, counts={"rejected": 1})
    progress = reporter.snapshot()
    assert (progress.done, progress.total, progress.message) == (2, 10, "busy")
    assert progress.counts == {"kept": 1, "rejected": 1}


def test_a_line_says_it_all() -> None:
    progress = Progress(
        stage="pack", done=5, total=10, unit="samples", rate=2.0, eta_seconds=3725, message="tokenising",
        counts={"rejected": 1}, metrics={"fill": 0.99951},
    )  # fmt: skip
    assert describe(progress) == "pack: 5/10 samples, 2/s, 1 h 02 min left, rejected=1, fill=0.9995, tokenising"


def test_metrics_are_in_prometheus_form() -> None:
    progress = Progress(stage="filter", done=5, unit="rows", counts={'odd"name': 1}, metrics={"rate": 0.5})
    assert list(metric_lines(progress)) == [
        "# TYPE npu_distill_stage_done gauge",
        'npu_distill_stage_done{stage="filter",unit="rows"} 5',
        "# TYPE npu_distill_stage_count gauge",
        'npu_distill_stage_count{stage="filter",name="odd\\"name"} 1',
        "# TYPE npu_distill_stage_figure gauge",
        'npu_distill_stage_figure{stage="filter",name="rate"} 0.5',
    ]


def test_the_server_answers_while_the_stage_computes() -> None:
    reporter = Reporter("pack", "samples")
    server = start_server(reporter, 0)
    stop = threading.Event()

    def compute() -> None:
        done = 0
        while not stop.is_set():
            done += 1
            reporter.update(done=done)

    threading.Thread(target=compute).start()
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        with urllib.request.urlopen(f"{base}/progress", timeout=5) as response:
            assert Progress.model_validate(json.load(response)).stage == "pack"
        with urllib.request.urlopen(f"{base}/metrics", timeout=5) as response:
            assert b"npu_distill_stage_done" in response.read()
        with urllib.request.urlopen(f"{base}/healthz", timeout=5) as response:
            assert response.status == 200
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{base}/other", timeout=5)
    finally:
        stop.set()
        server.shutdown()
        server.server_close()
