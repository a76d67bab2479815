"""Inputs that are others than they were: what was made of them is not taken for what these would give.

What is complete is immutable, so that something new is made beside it. What is under way is not mixed: it begins anew
where that costs computing time only, and otherwise is refused until somebody decides.
"""

import shutil
from collections.abc import Iterable, Sequence

from distill_runtime.contract import Contract, InputFingerprint
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.storage.artifact import find_complete, partial_directory, recorded_inputs
from distill_runtime.storage.fingerprints import Change, changes, short_hash
from distill_runtime.storage.volume import Volume


def placed_by_inputs(volume: Volume, contract: Contract, fingerprints: Sequence[InputFingerprint]) -> Contract:
    """Give the contract with the output that is right for these inputs: its own, or one beside it.

    If what is complete there was made of other inputs, what is made of these goes to a directory whose name ends in a
    hash of them, where whoever asks for the same again finds it.

    Raises:
        WrongInput: as `find_complete`.
    """
    found = find_complete(volume, contract)
    if found is None or not changes(found[1].fingerprints, fingerprints):
        return contract
    return contract.model_copy(update={"output": f"{contract.output}-{short_hash(fingerprints)}"})


def changes_under_way(volume: Volume, contract: Contract, fingerprints: Sequence[InputFingerprint]) -> list[Change]:
    """Give the inputs that are others than those with which the unfinished artifact of a contract was begun."""
    return changes(recorded_inputs(partial_directory(volume.resolve(contract.output))), fingerprints)


def refuse_changes(volume: Volume, contract: Contract, fingerprints: Sequence[InputFingerprint]) -> None:
    """Make sure that what is under way goes on with the inputs that it was begun with.

    Raises:
        WrongInput: InputChanged.
    """
    if changed := changes_under_way(volume, contract, fingerprints):
        raise input_changed(f"{contract.output} was begun", changed)


def discard_if_changed(volume: Volume, contract: Contract, fingerprints: Sequence[InputFingerprint]) -> None:
    """Remove what is under way if its inputs are others now, so that it begins anew."""
    if changes_under_way(volume, contract, fingerprints):
        shutil.rmtree(partial_directory(volume.resolve(contract.output)))


def input_changed(since: str, changed: Iterable[Change]) -> WrongInput:
    """Say which inputs are not what they were when something was made of them, and what can be done."""
    return WrongInput(
        "InputChanged",
        f"the input has changed since {since}: {'; '.join(map(str, changed))}. Put it back as it was, and what is done "
        "counts; or create the object under another name (by hand: name another output), which starts from nothing",
    )
