"""CEL rules say what is wrong, where, and what to do."""

import pytest

from distill_operator.api.rules import Rule, exactly_one_of, immutable, with_rules


def test_a_rule_without_field_is_reported_at_its_object() -> None:
    assert Rule("self.a > 0", "raise a").to_schema() == {"rule": "self.a > 0", "message": "raise a"}


def test_a_rule_is_reported_at_its_field() -> None:
    assert Rule("self.a > 0", "raise a", field="a").to_schema()["fieldPath"] == ".a"


def test_immutable_covers_setting_and_removing_as_well() -> None:
    (rule,) = immutable("EvalRun", "target")
    assert rule.expression == (
        "has(self.target) == has(oldSelf.target) && (!has(self.target) || self.target == oldSelf.target)"
    )
    assert rule.message == "spec.target is immutable: create a new EvalRun to change it"


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c")])
def test_exactly_one_of_names_the_choices(names: tuple[str, ...]) -> None:
    rule = exactly_one_of("spec.target", *names)
    assert rule.message == f"spec.target: set exactly one of {', '.join(names)}"
    assert rule.expression.count("has(") == len(names)


def test_rules_go_into_the_schema() -> None:
    extra = with_rules(Rule("self.a", "a"), Rule("self.b", "b"))
    assert extra == {
        "x-kubernetes-validations": [{"rule": "self.a", "message": "a"}, {"rule": "self.b", "message": "b"}]
    }
