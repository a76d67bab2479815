"""A user's verifier, whatever it does, costs the answer that it is at, and sees no credentials."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distill_runtime.contract import FilterParameters
from distill_runtime.foundation.errors import Retryable, WrongInput
from distill_runtime.verification import Question, open_verifier, verify_all

MODULE = """
import fcntl, os, signal, sys, time
from pathlib import Path

import numpy

nothing = None

class Hidden(Exception):
    def __repr__(self):
        raise RuntimeError("no words")
    def __reduce__(self):
        return os._exit, (7,)

def judge(reference, text):
    match text:
        case "exits": sys.exit(0)
        case "interrupts": raise KeyboardInterrupt
        case "generator": raise GeneratorExit
        case "hidden": raise Hidden
        case "long": raise ValueError("x" * 10_000_000)
        case "forks": os.fork()
        case "leaves a child": os.fork() or time.sleep(3600)
        case "closes":
            os.closerange(0, 100)
        case "prints":
            for megabyte in range(1 << 10):
                os.write(1 + megabyte % 2, b"x" * (1 << 20))
        case "writes":
            for descriptor in range(3, 100):
                try:
                    os.write(descriptor, b"no verdict\\n")
                except OSError:
                    pass
        case "moves": os.chdir("/")
        case "cleans": os.environ.clear()
        case "none": return None
        case "word": return "True"
        case "array": return numpy.array([True, True])
        case "numpy": return numpy.bool_(text == reference)
        case "reward": return 1.0
        case "kills": os.kill(os.getppid(), signal.SIGKILL)
    return text == reference

def needs_three(reference, text, more): return True
def counts(*texts): return len(texts) == 2

def sees(reference, text):
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if reference.encode() in path.read_bytes():
                return True
        except OSError:
            continue
    return reference in os.environ.values()

def leaves(reference, text):
    file = open(reference, "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    if os.fork() == 0:
        time.sleep(60)
        file.write("survived")
        file.flush()
        os._exit(0)
    file.detach().detach()  # the lock is held as long as either process lives
    return True

def remembers(reference, text): return os.environ.get(reference) == text
"""


@pytest.fixture
def judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "judges.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def reasons(entry_point: str, pairs: list[tuple[str, str]]) -> list[str]:
    verifier = open_verifier(FilterParameters(verifier="python", entry_point=entry_point))
    questions = [Question(None, reference, text) for reference, text in pairs]
    return [verdict.reason for _, verdict in verify_all(verifier, questions, 60, workers=1)]


DEEDS = {
    "exits": "crashed",
    "interrupts": "crashed",
    "generator": "crashed",
    "hidden": "crashed",
    "long": "crashed",
    "closes": "crashed",
    "forks": "correct",
    "leaves a child": "correct",
    "prints": "correct",
    "writes": "crashed",
    "moves": "correct",
    "cleans": "correct",
    "none": "crashed",
    "word": "crashed",
    "array": "crashed",
    "numpy": "correct",
    "reward": "correct",
}


@pytest.mark.usefixtures("judges")
def test_what_it_does_is_that_answers_alone() -> None:
    pairs = [pair for does in DEEDS for pair in [(does, does), (f"after it {does}", f"after it {does}")]]
    found = reasons("judges:judge", pairs)
    assert dict(zip(DEEDS, found[::2], strict=True)) == DEEDS
    assert set(found[1::2]) == {"correct"}


def test_what_it_starts_ends_with_it(judges: Path) -> None:
    assert reasons("judges:leaves", [(str(judges / "left"), "x")]) == ["correct"]
    with (judges / "left").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert file.read() == ""


@pytest.mark.usefixtures("judges")
def test_one_that_ends_what_watches_it_is_no_verdict() -> None:
    with pytest.raises(Retryable, match="ended by signal 9") as failure:
        reasons("judges:judge", [("fine", "fine"), ("fine", "kills"), ("fine", "fine")])
    assert failure.value.reason == "VerifierPoolBroken"


@pytest.mark.usefixtures("judges")
def test_why_answers_crash_is_said_and_not_without_end(caplog: pytest.LogCaptureFixture) -> None:
    assert set(reasons("judges:judge", [(str(number), "none") for number in range(50)])) == {"crashed"}
    assert "judges:judge returned None, neither True nor False" in caplog.text
    assert len(caplog.records) == 21


@pytest.mark.usefixtures("judges")
def test_any_function_of_two_texts_will_do() -> None:
    assert reasons("judges:counts", [("a", "b")]) == ["correct"]


@pytest.mark.parametrize(
    ("entry_point", "problem"),
    [
        ("judges:jury", "no attribute"),
        ("judges:nothing", "not a function"),
        ("judges:needs_three", "cannot be called with two texts"),
        ("nobody:judge", "No module"),
        ("broken:judge", "ZeroDivisionError"),
        ("script:judge", "SystemExit"),
    ],
)
def test_one_that_cannot_be_called_is_refused_before_anything_is_judged(
    judges: Path, entry_point: str, problem: str
) -> None:
    (judges / "broken.py").write_text("1 / 0")
    (judges / "script.py").write_text("import sys; sys.exit(0)")
    with pytest.raises(WrongInput, match=problem) as refusal:
        open_verifier(FilterParameters(verifier="python", entry_point=entry_point))
    assert refusal.value.reason == "VerifierMissing"
    assert entry_point in refusal.value.message


def test_it_is_never_imported_where_the_credentials_are(judges: Path) -> None:
    (judges / "traces.py").write_text("def judge(reference, text): return True")
    assert reasons("traces:judge", [("a", "b")]) == ["correct"]
    assert "traces" not in sys.modules


SECRETS = {
    "DISTILL_API_KEY": "sk-of-the-teacher",
    "HF_TOKEN": "hf_of-the-hub",
    "AWS_SECRET_ACCESS_KEY": "of-the-object-store",
    "DATABASE_URL": "whatever-else-a-secret-has",
}
PROGRAM = """
import sys
from distill_runtime.contract import FilterParameters
from distill_runtime.verification import Question, open_verifier, verify_all

verifier = open_verifier(FilterParameters(verifier="python", entry_point=sys.argv[1]))
questions = [Question(None, *pair.split("=")) for pair in sys.argv[2:]]
print(*(verdict.reason for _, verdict in verify_all(verifier, questions, 30, 1)))
"""
WITHOUT_CAPABILITIES = """
import ctypes, os, sys

PR_CAPBSET_DROP = 24
for capability in range(41):
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability)
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""


def verdicts_in_a_stage(entry_point: str, pairs: list[str], environment: dict[str, str]) -> list[str]:
    """Verify in a process that has this environment, and none of root's capabilities, as in a Pod."""
    path = os.pathsep.join(path for path in sys.path if path)
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_CAPABILITIES, PROGRAM, entry_point, *pairs],
        env={**environment, "PYTHONPATH": path, "PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        check=True,
        capture_output=True,
        text=True,
    )
    return ended.stdout.split()


@pytest.mark.usefixtures("judges")
def test_it_finds_no_credentials_in_any_process() -> None:
    pairs = [f"{value}=x" for value in SECRETS.values()]
    assert verdicts_in_a_stage("judges:sees", pairs, SECRETS) == ["incorrect"] * len(SECRETS)


@pytest.mark.usefixtures("judges")
def test_it_has_what_programs_need() -> None:
    environment = {"OMP_NUM_THREADS": "3", "TMPDIR": "/var/tmp", "LD_LIBRARY_PATH": "/opt/lib", "HF_TOKEN": "x"}
    pairs = [f"{name}={value}" for name, value in environment.items()]
    assert verdicts_in_a_stage("judges:remembers", pairs, environment) == ["correct"] * 3 + ["incorrect"]
