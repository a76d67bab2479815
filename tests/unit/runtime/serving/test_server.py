"""The server's process, with real MindFormers: it answers as the model says, and ends if it cannot."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.ports import unused_port
from support.qwen2_reference import next_token_logits
from support.student import CONFIG, write_student, write_weights
from transformers.models.auto.tokenization_auto import AutoTokenizer

from distill_runtime.contract import EXIT_WRONG_INPUT
from distill_runtime.contract.stages import ServerBeside
from distill_runtime.packing.tokens import SampleTokenizer
from distill_runtime.serving.beside import Server
from distill_runtime.serving.server import ChatTokenizer
from distill_runtime.training.architecture import read_architecture
from distill_runtime.training.end_token import EndToken
from distill_runtime.training.export import export_model
from distill_runtime.training.weight_names import expected_shapes, to_mindformers

pytestmark = pytest.mark.mindspore

QUESTIONS = ["1 + 1?", "What is 12 + 34?", "Add the ones, then the tens: 12 + 34?"]


def start(model: Path, batch_size: int, port: int, output: Path) -> subprocess.Popen[bytes]:
    """Start the server in a directory that it may write to, as its container has."""
    arguments = [f"--model={model}", "--name=student", f"--port={port}", "--device-target=CPU"]
    command = [sys.executable, "-m", "distill_runtime.serving.server", *arguments, f"--batch-size={batch_size}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LOCAL_DEFAULT_PATH": str(output)}
    with (output / "server.log").open("wb") as log:
        return subprocess.Popen(command, cwd=output, env=environment, stdout=log, stderr=subprocess.STDOUT)


@contextmanager
def serve(model: Path, batch_size: int, output: Path) -> Iterator[str]:
    """Have a model served, and give the base URL once it is ready."""
    port = unused_port()
    url = f"http://127.0.0.1:{port}/v1"
    process = start(model, batch_size, port, output)
    try:
        Server(ServerBeside(), url, output).wait_until_ready(lambda _: None)
        yield url
    finally:
        process.kill()
        process.wait()


def ask(url: str, question: str) -> dict[str, Any]:
    body = {"model": "student", "messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 3}
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def test_questions_asked_together_are_answered_as_if_alone(tmp_path: Path) -> None:
    student = write_student(tmp_path / "student")
    weights = write_weights(student)
    tokenizer = AutoTokenizer.from_pretrained(student)
    with serve(student, 4, tmp_path) as url:
        with ThreadPoolExecutor() as threads:
            answers = list(threads.map(lambda question: ask(url, question), QUESTIONS))
        for question, answer in zip(QUESTIONS, answers, strict=True):
            tokens = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True)
            assert answer["usage"]["prompt_tokens"] == len(tokens)
            expected = []
            for _ in range(answer["usage"]["completion_tokens"]):
                expected.append(int(next_token_logits(CONFIG, weights, tokens + expected).argmax()))
            content = answer["choices"][0]["message"]["content"]
            assert content == tokenizer.decode(expected, skip_special_tokens=True)


def test_a_trained_base_model_stops_where_its_samples_end(tmp_path: Path) -> None:
    base = write_student(tmp_path / "base", tie_word_embeddings=False)
    settings = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": "<|endoftext|>"}))
    (base / "generation_config.json").write_text('{"eos_token_id": 320}')
    tokenizer = SampleTokenizer(base)
    end_token = EndToken(tokenizer.end_token_id, "<|im_end|>")
    assert end_token.id not in ChatTokenizer(base).stop_tokens(base)

    # Whatever it is asked, what comes next is the end of the turn.
    architecture = read_architecture(base)
    weights = {name: np.zeros(shape, np.float32) for name, shape in expected_shapes(architecture).items()}
    weights["model.embed_tokens.weight"][:] = weights["model.norm.weight"][:] = 1
    weights["lm_head.weight"][end_token.id] = 1
    save_file({to_mindformers(name): array for name, array in weights.items()}, tmp_path / "checkpoint.safetensors")
    trained = tmp_path / "trained"
    trained.mkdir()
    export_model([tmp_path / "checkpoint.safetensors"], base, architecture, end_token, None, trained)

    with serve(trained, 1, tmp_path) as url:
        answer = ask(url, "1 + 1?")
    (choice,) = answer["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", "")


def test_a_model_that_cannot_be_served_is_wrong_input(tmp_path: Path) -> None:
    student = write_student(tmp_path / "student")
    write_weights(student)
    (student / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": 3}))
    process = start(student, 4, unused_port(), tmp_path)
    assert process.wait() == EXIT_WRONG_INPUT
    assert "model.layers.2" in (tmp_path / "server.log").read_text().splitlines()[-1]
