from distill_runtime.contract import InputFingerprint, Result
from distill_runtime.contract.report import RESULT_LIMIT


def test_a_result_that_is_too_long_loses_its_last_inputs_and_then_the_end_of_its_message() -> None:
    inputs = tuple(InputFingerprint(name="endpoint", uri=f"http://{n:03}/{'x' * 200}", value="m") for n in range(64))
    result = Result(outcome="Succeeded", reason="Done", message="done", inputs=inputs, counts={"rows": 1})
    text = result.to_termination_message()
    assert len(text.encode()) <= RESULT_LIMIT
    read = Result.model_validate_json(text)
    assert (read.message, read.counts) == ("done", {"rows": 1})
    assert read.inputs == inputs[: len(read.inputs)]
    assert read.inputs
    longer = result.model_copy(update={"message": "m" * 5000})
    read = Result.model_validate_json(longer.to_termination_message())
    assert read.inputs == ()
    assert read.message.endswith("m…")
