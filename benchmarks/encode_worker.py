"""An engine in a process of its own: reads a JSON command a line, answers with a JSON line.

Both ends are here: ``Worker`` is the driver's, ``main`` the process'. The process imports its
engine when it is told which, so that its memory and its start are those of the engine alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

Answer = dict[str, Any]


class WorkerError(Exception):
    """What went wrong in a worker, in one line."""


class Worker:
    """A running worker: ``ask`` sends a command and waits for the answer.

    Raises WorkerError if the command fails or the process ends; then it is closed. ``peak`` is its
    peak resident memory in bytes, ``idle`` the CPU seconds that it took between commands.
    """

    def __init__(self, python: str) -> None:
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
        if python != sys.executable:  # another environment must not find this one's packages
            environment.pop("PYTHONPATH", None)
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (open until closed)
        self._process = subprocess.Popen(
            [python, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        self.peak = 0.0
        self.idle = 0.0

    def ask(self, command: str, **arguments: Any) -> Answer:
        """Send a command; its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps({"command": command, **arguments}), file=self._process.stdin)
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer: Answer = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            self.close()
            raise WorkerError(answer["error"])
        self.idle += answer.pop("idle")
        self.peak = answer.pop("peak")
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _last_words(self) -> str:
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return f"ended with status {status}: {lines[-1] if lines else 'without a word'}"


class _Server:
    """The commands, as methods; each gives its answer."""

    def __init__(self) -> None:
        self._engine: Any = None
        self._texts: list[str] = []

    def model(self, model: str, folder: str) -> Answer:
        """Write a model in Hugging Face layout."""
        from encode_formats import write_model

        write_model(model, Path(folder))
        return {}

    def prepare(self, format: str, root: str) -> Answer:
        """Write a model in the format of some engines."""
        from encode_formats import write_format

        write_format(format, Path(root))
        return {}

    def open(self, engine: str, root: str, batch_size: int) -> Answer:
        """Import and load an engine."""
        from encode_engines import open_engine

        self._engine = open_engine(engine, Path(root), batch_size)
        about: Answer = self._engine.about()
        return about

    def multiply(self, library: str, precision: str, hidden: int, intermediate: int) -> Answer:
        """Make ready the products of a model's shapes; the first call of ``rate`` warms up."""
        from encode_products import Products

        self._engine = Products(library, precision, hidden, intermediate)
        return {"flops": self._engine.rate()}

    def rate(self) -> Answer:
        """Floating-point operations a second of plain matrix products."""
        return {"flops": self._engine.rate()}

    def lengths(self, file: str) -> Answer:
        """How many tokens the model sees of each text of a JSON file."""
        return {"lengths": self._engine.lengths(json.loads(Path(file).read_text("utf-8")))}

    def texts(self, file: str, singles: int, vectors: str) -> Answer:
        """Take the texts to encode from a JSON file, warm up on them, and save their vectors."""
        _forget_peak()
        self._texts = json.loads(Path(file).read_text("utf-8"))
        np.save(vectors, self._engine.encode(self._texts))
        for text in self._texts[:singles]:
            self._engine.encode([text])
        return {}

    def encode(self) -> Answer:
        """Time encoding all texts: wall-clock and CPU seconds."""
        begin, cpu = time.perf_counter(), time.process_time()
        self._engine.encode(self._texts)
        return {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu}

    def single(self, start: int, stop: int) -> Answer:
        """Time encoding some texts one at a time: seconds of each."""
        times = [time.perf_counter()]
        for text in self._texts[start:stop]:
            self._engine.encode([text])
            times.append(time.perf_counter())
        return {"seconds": np.diff(times).tolist()}

    def first(self, text: str) -> Answer:
        """Encode one text, untimed: what a cold start ends with."""
        self._engine.encode([text])
        return {}


def main() -> None:
    """Answer the commands until standard input ends."""
    # what libraries print must not come between the answers
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    server = _Server()
    idle_since = time.process_time()
    for line in sys.stdin:
        command = json.loads(line)
        idle = time.process_time() - idle_since
        answer = _answered(getattr(server, command.pop("command")), command)
        print(json.dumps({**answer, "idle": idle, "peak": _peak()}), file=answers, flush=True)
        idle_since = time.process_time()


def _answered(method: Callable[..., Answer], arguments: dict[str, Any]) -> Answer:
    try:
        return method(**arguments)
    except Exception as error:  # any engine may fail in any way; the others go on
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        return {"error": f"{type(error).__name__}: {reason}"}


def _peak() -> float:
    """Peak resident memory in bytes since the last ``_forget_peak``; NaN where it isn't known."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024.0


def _forget_peak() -> None:
    """Count peak memory from now (see proc(5), clear_refs); else it stays that since the start."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


if __name__ == "__main__":
    main()
