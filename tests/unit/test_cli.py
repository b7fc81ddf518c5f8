"""The `relu-pipeline` command: its help, its completion, its progress bars, and what Ctrl-C leaves."""

import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relu_pipeline.cli import build_parser

COMMAND = [sys.executable, "-m", "relu_pipeline.cli"]


def help_of(*words: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit) as ended:
        build_parser().parse_args([*words, "--help"])
    assert ended.value.code == 0
    return printed.getvalue()


def commands(*words: str) -> Iterator[tuple[str, ...]]:
    """Yield the command `words` and all below it, as their help lists them."""
    yield words
    for name in re.findall(r"^    ([a-z-]+)(?=  |$)", help_of(*words), re.MULTILINE):
        yield from commands(*words, name)


COMMANDS = list(commands())


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many"])
def test_a_search_has_at_least_one_trial(number: str) -> None:
    done = subprocess.run(
        [*COMMAND, "search", "text", f"--trials={number}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"'{number}' is not a number from 1 on" in done.stderr


def test_a_reader_that_ends_early_gets_no_traceback() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{shlex.join([*COMMAND, 'completion', 'bash'])} | true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_the_help_names_every_command() -> None:
    assert {("doctor",), ("use", "text"), ("predict", "image"), ("send-metrics",)} < set(COMMANDS)
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_help_fits_and_ends_with_an_example_that_is_valid(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(*words)
    assert max(map(len, text.splitlines())) <= 80
    *_, example = text.rstrip().partition("\nexample:\n  ")
    assert "\n" not in example
    program, *given = shlex.split(example)
    assert program == "relu-pipeline"
    assert tuple(given[: len(words)]) == words
    assert callable(build_parser().parse_args(given).command)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_help_says_in_a_sentence_what_the_command_does(words: tuple[str, ...]) -> None:
    _usage, description, *_ = help_of(*words).split("\n\n")
    assert description[0].isupper()
    assert description.endswith(".")


@pytest.fixture(scope="module")
def bash_completion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = tmp_path_factory.mktemp("completion") / "relu-pipeline.bash"
    with script.open("w") as output:
        subprocess.run([*COMMAND, "completion", "bash"], stdout=output, check=True)
    return script


def complete(script: Path, folder: Path, *words: str) -> list[str]:
    """Return what bash offers for the last of the words on the command line."""
    line = " ".join(map(shlex.quote, ("relu-pipeline", *words)))
    commands = f"""
        source {shlex.quote(str(script))}
        COMP_WORDS=({line}); COMP_CWORD={len(words)}; COMP_LINE={shlex.quote(line)}; COMP_POINT=${{#COMP_LINE}}
        registered=$(complete -p relu-pipeline); registered=${{registered#*-F }}
        "${{registered%% *}}" relu-pipeline {shlex.quote(words[-1])} {shlex.quote(words[-2] if words[1:] else "")}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", commands], cwd=folder, capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_options_choices_and_files(bash_completion: Path, tmp_path: Path) -> None:
    subprocess.run(["bash", "-n", bash_completion], check=True)
    (tmp_path / "photos").mkdir()
    assert complete(bash_completion, tmp_path, "prom") == ["promote"]
    assert complete(bash_completion, tmp_path, "promote", "im") == ["image"]
    assert complete(bash_completion, tmp_path, "promote", "image", "--fo") == ["--force"]
    assert complete(bash_completion, tmp_path, "predict", "text", "--prec") == ["--precision"]
    assert complete(bash_completion, tmp_path, "use", "image", "pho") == ["photos"]


def test_zsh_accepts_the_completion_script(tmp_path: Path) -> None:
    script = subprocess.run([*COMMAND, "completion", "zsh"], capture_output=True, text=True, check=True).stdout
    assert script.startswith("#compdef relu-pipeline\n")
    assert "_shtab_relu_pipeline_promote" in script
    if not shutil.which("zsh"):
        reason = "zsh is not installed: `apt-get install zsh`"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    (tmp_path / "_relu-pipeline").write_text(script)
    subprocess.run(["zsh", "-n", tmp_path / "_relu-pipeline"], check=True)


def test_the_default_port_is_that_of_the_service() -> None:
    assert "port of the service; default: 3000" in " ".join(help_of("doctor").split())
    assert "default: http://127.0.0.1:3000" in " ".join(help_of("ask").split())


@pytest.mark.parametrize(("time", "seconds"), [("90s", 90), ("20m", 1200), ("2h", 7200)])
def test_the_time_of_a_search_has_a_unit(time: str, seconds: int) -> None:
    assert build_parser().parse_args(["search", "text", "--timeout", time]).timeout == seconds


@pytest.mark.parametrize("time", ["20", "h", "1.5h", "2d"])
def test_a_time_without_a_unit_is_refused(time: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        build_parser().parse_args(["search", "text", "--timeout", time])
    assert f"'{time}' is not a time such as 90s, 20m or 2h" in capsys.readouterr().err


def test_ctrl_c_ends_a_command_with_the_status_of_shells_and_no_traceback() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(60)
        words = ["ask", "text", "a goal", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}"]
        with subprocess.Popen(
            [*COMMAND, *words],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:
            connection, _ = silent.accept()  # from now on it waits for an answer
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
            connection.close()
    assert process.returncode == 130
    assert "Traceback" not in said
