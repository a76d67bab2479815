"""The CPU patches, in processes of their own: they must come before MindFormers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import attention_leak
from support.student import QWEN3, write_student

from distill_runtime.training import cpu_patches, patching


@pytest.mark.mindspore
@pytest.mark.parametrize(("how", "kind"), [("patched", {}), ("plain", {}), ("patched", QWEN3)])
def test_no_token_sees_another_sample_or_a_later_token(tmp_path: Path, how: str, kind: dict[str, object]) -> None:
    write_student(tmp_path / "student", **kind)
    script = subprocess.run(
        [sys.executable, attention_leak.__file__, str(tmp_path / "student"), how],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LOCAL_DEFAULT_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    reach = json.loads(script.stdout.splitlines()[-1])
    assert reach["own"] > 1e-3
    if how == "patched":
        assert reach["earlier"] == reach["other"] == 0
    else:  # when this fails, MindFormers has mended its attention, and the patch can go
        assert reach["earlier"] > 1e-6
        assert reach["other"] > 1e-6


def test_a_module_that_is_imported_already_cannot_be_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "mindspore.nn.wrap.loss_scale"
    monkeypatch.setitem(sys.modules, name, sys)
    with pytest.raises(RuntimeError, match=name):
        patching.install(cpu_patches.PATCHES)
