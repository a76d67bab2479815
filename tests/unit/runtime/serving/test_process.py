"""The server's process, with real MindFormers: it answers as the model says, and its end is noticed."""

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.qwen2_reference import next_token_logits
from support.student import CONFIG, write_student, write_weights
from transformers.models.auto.tokenization_auto import AutoTokenizer

from distill_runtime.errors import Retryable, WrongInput
from distill_runtime.serving.process import serve

pytestmark = pytest.mark.mindspore

QUESTIONS = ["1 + 1?", "What is 12 + 34?", "Add the ones, then the tens: 12 + 34?"]


def ask(url: str, question: str) -> dict[str, object]:
    body = {"model": "student", "messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 3}
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request) as response:
        answer: dict[str, object] = json.load(response)
        return answer


def test_questions_asked_together_are_answered_as_if_alone_until_it_dies(tmp_path: Path) -> None:
    student = write_student(tmp_path / "student")
    weights = write_weights(student)
    tokenizer = AutoTokenizer.from_pretrained(student)
    with serve(student, "student", "CPU", 4, tmp_path) as server:
        server.wait_until_ready()
        with ThreadPoolExecutor() as threads:
            answers = list(threads.map(lambda question: ask(server.url, question), QUESTIONS))
        for question, answer in zip(QUESTIONS, answers, strict=True):
            tokens = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True)
            assert answer["usage"]["prompt_tokens"] == len(tokens)
            expected = []
            for _ in range(answer["usage"]["completion_tokens"]):
                expected.append(int(next_token_logits(CONFIG, weights, tokens + expected).argmax()))
            content = answer["choices"][0]["message"]["content"]
            assert content == tokenizer.decode(expected, skip_special_tokens=True)
        server.check()
        server._child.process.kill()
        server._child.process.wait()
        with pytest.raises(Retryable, match="SIGKILL") as died:
            server.check()
    assert died.value.reason == "ServerFailed"


def test_a_model_that_cannot_be_served_is_wrong_input(tmp_path: Path) -> None:
    student = write_student(tmp_path / "student")
    write_weights(student)
    (student / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": 3}))
    with serve(student, "student", "CPU", 4, tmp_path) as server, pytest.raises(WrongInput) as refused:
        server.wait_until_ready()
    assert refused.value.reason == "ModelNotServed"
    assert "model.layers.2" in refused.value.message
