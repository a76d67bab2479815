"""What a judge is asked.

The answer that is judged is text of the prompt and nothing else: what stands for placeholders in it stays as it is, and
a verdict in it is none, since verdicts are looked for in the judge's own reply.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from distill_runtime.client.values import Request, chat_body
from distill_runtime.contract import Judge
from distill_runtime.contract.parameters.judge import ANSWER, PROBLEM, REFERENCE
from distill_runtime.foundation.reasoning import text_after_reasoning

_PLACEHOLDER = re.compile("|".join(map(re.escape, (PROBLEM, REFERENCE, ANSWER))))
_LONGEST_ANSWER: Final = 20_000
"""Characters of an answer that the judge is shown. A final answer is at the end, so that is what it sees of more."""


@dataclass(frozen=True, slots=True)
class Case:
    """An answer that is to be judged.

    Attributes:
        problem, reference: what was asked, and what is right.
        text: what was answered, reasoning included.
        whose: names the answer in the journal, for people.
    """

    problem: str
    reference: str
    text: str
    whose: Mapping[str, Any]


def is_answered(text: str) -> bool:
    """Tell whether there is anything after the reasoning that could be judged."""
    return bool(text_after_reasoning(text).strip())


def judge_request(judge: Judge, case: Case) -> Request:
    """Give what the judge is asked about an answer; the same question, of whichever answers, has the same key."""
    answer = text_after_reasoning(case.text).strip()
    if len(answer) > _LONGEST_ANSWER:
        answer = f"[…]{answer[-_LONGEST_ANSWER:]}"
    values = {PROBLEM: case.problem, REFERENCE: case.reference, ANSWER: answer}
    body = chat_body(
        judge.endpoint.model,
        system_prompt="",
        user_prompt=_PLACEHOLDER.sub(lambda found: values[found.group()], judge.prompt_template),
        max_tokens=judge.max_tokens,
        temperature=judge.temperature,
        top_p=1.0,
        seed=judge.seed,
    )
    key = hashlib.blake2b(orjson.dumps(body, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
    return Request(key=key, body=body, record=case.whose)
