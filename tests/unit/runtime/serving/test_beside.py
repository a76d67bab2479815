"""How a stage follows the server beside it: what wraps its command, what is made of its ends, both with a real one."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.ports import unused_port

from distill_operator.plan.serving import SCRIPT, TERMINATION_PATH
from distill_runtime.contract import Benchmark, EvalContract, Protocol
from distill_runtime.contract.stages import ServerBeside, WeightsTarget
from distill_runtime.foundation.errors import Retryable, StageError, WrongInput
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext, run_stage
from distill_runtime.serving.beside import Server, read_ends
from distill_runtime.stages import eval as eval_stage
from distill_runtime.storage.volume import Volume


@pytest.mark.parametrize(
    ("history", "ends"),
    [
        ("", []),
        ("started", []),
        ("started\nended 1", [1]),
        ("started\nstarted\nended 0\nstarted", [137, 0]),
        ("ended 1\nstarted\nended\nended x\nended 3", [3]),
    ],
    ids=["nothing", "runs", "ended", "killed with its wrapper", "half written"],
)
def test_ends_are_read_from_starts_as_well(history: str, ends: list[int]) -> None:
    assert read_ends(history.splitlines()) == ends


def wrapped(output: Path, command: list[str]) -> subprocess.Popen[bytes]:
    """Start a command as the server's container does, once."""
    output.mkdir(exist_ok=True)
    script = SCRIPT.replace(TERMINATION_PATH, str(output / "termination"))
    return subprocess.Popen(["sh", "-c", script, "server", str(output), *command], stdout=subprocess.PIPE)


def test_the_wrapper_passes_on_exit_code_output_and_last_words(tmp_path: Path) -> None:
    process = wrapped(tmp_path, ["sh", "-c", "echo said >&2; exit 3"])
    shown, _ = process.communicate()
    assert (process.returncode, shown) == (3, b"said\n")
    assert (tmp_path / "history").read_text() == "started\nended 3\n"
    assert (tmp_path / "log").read_text() == (tmp_path / "termination").read_text() == "said\n"


def test_the_wrapper_forwards_a_termination_and_waits_for_the_end(tmp_path: Path) -> None:
    program = (
        "import signal, sys; signal.signal(15, lambda *_: sys.exit(7)); print('ready', flush=True); signal.pause()"
    )
    process = wrapped(tmp_path, [sys.executable, "-c", program])
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 7


FOLLOWED = ServerBeside(name="other", start_seconds=1)


def server_that_has(tmp_path: Path, history: str, log: str = "") -> Server:
    (tmp_path / "history").write_text(history)
    (tmp_path / "log").write_text(log)
    return Server(
        FOLLOWED.model_copy(update={"output": str(tmp_path)}), f"http://127.0.0.1:{unused_port()}/v1", tmp_path
    )


CRASH = "started\nended 1\n"


@pytest.mark.parametrize(
    ("history", "log", "reason", "message"),
    [
        (
            CRASH * 3,
            "Traceback\nValueError: max_model_len is too large\nbye\n",
            "ServerFailed",
            "the server other ended with exit code 1; it said: ValueError: max_model_len is too large, 3 times",
        ),
        ("started\n" * 4, "", "ServerFailed", "the server other was ended by signal 9, perhaps for lack of memory, 3"),
        ("started\nended 78\n", "UnsupportedModel: x\n", "ModelNotServed", "it said: UnsupportedModel: x"),
    ],
    ids=["crashed", "killed", "wrong"],
)
def test_a_server_that_cannot_start_is_given_up_with_its_last_words(
    tmp_path: Path, history: str, log: str, reason: str, message: str
) -> None:
    server = server_that_has(tmp_path, history, log)
    with pytest.raises(StageError, match=message) as failed:
        server.wait_until_ready(lambda _: None)
    assert failed.value.reason == reason
    assert isinstance(failed.value, WrongInput if reason == "ModelNotServed" else Retryable)
    assert (tmp_path / "server.log").read_text() == log


def test_ends_with_answers_in_between_are_none_in_a_row(tmp_path: Path) -> None:
    server = server_that_has(tmp_path, CRASH * 2)
    assert server.check(0) == "the server other ended with exit code 1"
    assert server.check(1) == ""
    (tmp_path / "history").write_text(CRASH * 4)
    server.check(1)
    (tmp_path / "history").write_text(CRASH * 5)
    with pytest.raises(Retryable):
        server.check(1)


def test_a_server_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(Retryable, match="the server other was not ready after 1 s; it said: loading"):
        server_that_has(tmp_path, "started\n", "loading\n").wait_until_ready(said.append)
    assert said[0] == "waiting for the server other to load the model"


def test_what_a_server_says_of_being_asked_whether_it_is_ready_is_none_of_its_last_words(tmp_path: Path) -> None:
    """As mlx-lm, which stays with weights that it cannot read, and answers 503."""
    log = "ValueError: no such weights\n" + '127.0.0.1 - - [28/Nov/2026] "GET /health HTTP/1.1" 503 -\n' * 100
    with pytest.raises(Retryable, match=r"was not ready after 1 s; it said: ValueError: no such weights$"):
        server_that_has(tmp_path, "started\n", log).wait_until_ready(lambda _: None)


MORTAL = '''
"""Answers n + 1, and is killed at every seventh question, before it answers it."""
import json, os, signal, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

asked, lock = sys.argv[2], threading.Lock()

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.say({"data": [{"id": "student"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        question = body["messages"][-1]["content"].split()[0]
        with lock:
            if question.isdecimal():
                with open(asked, "a") as file:
                    print(question, body["seed"], file=file)
                with open(asked) as file:
                    if len(file.readlines()) % 7 == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
        answer = int(question) + 1 if question.isdecimal() else "yes"
        message = {"role": "assistant", "content": f"\\\\\\\\boxed{{{answer}}}"}
        self.say({"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 3}})

    def say(self, value):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass

print("ready", flush=True)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
'''


@contextmanager
def restarted(output: Path, command: list[str]) -> Iterator[list[int]]:
    """Start a command again whenever it ends, as the kubelet does; gives the exit codes."""
    codes: list[int] = []
    running: list[subprocess.Popen[bytes]] = [wrapped(output, command)]
    over = threading.Event()

    def keep() -> None:
        while True:
            running[-1].communicate()
            codes.append(running[-1].returncode)
            if over.is_set():
                return
            running.append(wrapped(output, command))

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield codes
    finally:
        over.set()
        running[-1].terminate()
        thread.join()


def test_nothing_is_lost_or_asked_twice_of_a_server_that_is_killed_again_and_again(tmp_path: Path) -> None:
    at_once, total = 3, 24
    problems = [{"problem": f"{number} + 1?", "answer": str(number + 1)} for number in range(total // 2)]
    (tmp_path / "benchmark.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    output, port, asked = tmp_path / "output", unused_port(), tmp_path / "asked"
    program = tmp_path / "mortal.py"
    program.write_text(MORTAL)
    contract = EvalContract(
        output="score",
        target=WeightsTarget(
            uri="model",
            device_target="CPU",
            url=f"http://127.0.0.1:{port}/v1",
            server=ServerBeside(name="mortal", definition="mortal:1", output=str(output)),
        ),
        benchmark=Benchmark(name="plus-one", uri="benchmark.jsonl"),
        protocol=Protocol(temperature=0.5, samples_per_problem=2, max_concurrent_requests=at_once),
    )
    context = StageContext(Volume(tmp_path), Reporter("eval", "problems"))
    with restarted(output, [sys.executable, str(program), str(port), str(asked)]) as codes:
        result = run_stage(eval_stage, contract, context)
        killed = len(codes)
    assert result.metrics["score"] == 100.0
    assert result.counts["samples"] == result.counts["correct"] == total
    assert killed >= 3
    assert set(codes[:killed]) == {128 + signal.SIGKILL}
    questions = asked.read_text().splitlines()
    assert len(set(questions)) == total
    assert len(questions) <= total + at_once * killed
    assert [(each.name, each.value) for each in result.inputs[2:]] == [("server", "mortal:1")]
    (log,) = tmp_path.glob("score.logs/*/server.log")
    assert log.read_text().count("ready") >= killed
