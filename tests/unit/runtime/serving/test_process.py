"""The server's process, with real MindFormers: it answers as the model says, and its end is noticed."""

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.qwen2_reference import next_token_logits
from support.student import CONFIG, write_student, write_weights
from transformers.models.auto.tokenization_auto import AutoTokenizer

from distill_runtime.foundation.errors import Retryable, WrongInput
from distill_runtime.packing.tokens import SampleTokenizer
from distill_runtime.serving.process import serve
from distill_runtime.serving.server import ChatTokenizer
from distill_runtime.training.architecture import read_architecture
from distill_runtime.training.end_token import EndToken
from distill_runtime.training.export import export_model
from distill_runtime.training.weight_names import expected_shapes, to_mindformers

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

    with serve(trained, "student", "CPU", 1, tmp_path) as server:
        server.wait_until_ready()
        answer = ask(server.url, "1 + 1?")
    (choice,) = answer["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", "")


def test_a_model_that_cannot_be_served_is_wrong_input(tmp_path: Path) -> None:
    student = write_student(tmp_path / "student")
    write_weights(student)
    (student / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": 3}))
    with serve(student, "student", "CPU", 4, tmp_path) as server, pytest.raises(WrongInput) as refused:
        server.wait_until_ready()
    assert refused.value.reason == "ModelNotServed"
    assert "model.layers.2" in refused.value.message
