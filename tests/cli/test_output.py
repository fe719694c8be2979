from __future__ import annotations

import pytest
import typer

from albertine.cli.main import main
from albertine.cli.output import run_guarded


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("finetune", "interrupted: what was trained is saved, and the same command continues"),
        ("compare", "interrupted: what is finished is saved, and the same command continues"),
        ("convert", "interrupted: nothing was converted; run the same command again"),
        ("encode", "interrupted: vectors that were printed are whole, a file is written in the end only"),
        ("predict", "interrupted: answers that were printed are whole"),
        ("corpus", "interrupted: finished blocks are saved, and the same command goes on behind the last of them"),
        ("vocab", "interrupted: nothing was written; run the same command again to begin anew"),
        ("pretrain", "interrupted: what was trained is saved, and the same command continues at the last checkpoint"),
        ("info", "interrupted\n"),
        ("", "interrupted\n"),
    ],
)
def test_ctrl_c_says_what_is_true_of_the_verb(verb: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_guarded(interrupt, verb=verb) == 130
    assert capsys.readouterr().err.startswith(f"albertine: {said}")


def test_ctrl_c_at_a_question_is_one_too(capsys: pytest.CaptureFixture[str]) -> None:
    def abort() -> None:
        raise typer.Abort

    assert run_guarded(abort, verb="convert") == 130
    assert "nothing was converted" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["-q"], ["--quiet", "--debug"]])
def test_the_verb_is_found_behind_the_options(
    options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALBERTINE_DEBUG", "")
    monkeypatch.setattr("albertine.cli.converting.run_convert", interrupt)
    assert main([*options, "convert", "a", "b", "--to", "albertine"]) == 130
    error = capsys.readouterr().err
    assert "interrupted: nothing was converted" in error
    assert "training" not in error.splitlines()[-1]
