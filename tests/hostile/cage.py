"""Runs commands of monai-lung each in a process of its own, with limits, without paying for the imports each time.

As a script it imports the package once, then forks a child for each line of JSON on stdin and answers with a line that
says how the child ended. A child that hangs is killed, one that crashes or eats memory harms nobody.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

MEMORY_MB = 4096
"""What a child may map on top of what its parent has."""


@dataclass(frozen=True)
class End:
    """How a command ended: exit code (negative: the signal), its output, peak resident memory, seconds."""

    code: int
    out: str
    err: str
    peak_mb: float
    seconds: float
    timed_out: bool


class Cage:
    """A parent process that runs commands in children: it imports `modules`, and calls those that name a function."""

    def __init__(self, *modules: str) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "RUST_BACKTRACE": "0",
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Cage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.stdout.close()
        self._process.wait(30)

    def run(
        self,
        *arguments: str | Path,
        folder: Path,
        timeout_s: float = 300,
        setup: str = "",
        memory_mb: int = MEMORY_MB,
        **environment: object,
    ) -> End:
        """Run `monai-lung ARGUMENTS`.

        Args:
            arguments: of the command line.
            folder: for the child's output and temporary files.
            timeout_s: after that the child is killed.
            setup: "module:function" that is called in the child first.
            memory_mb: what the child may map on top of what its parent has.
            environment: variables of the child.
        """
        if not self._process.stdin or not self._process.stdout:
            raise RuntimeError("no pipes")
        text = [os.fsencode(a).decode("latin-1") for a in arguments]
        order = {
            "arguments": text,
            "folder": str(folder),
            "timeout_s": timeout_s,
            "setup": setup,
            "memory_mb": memory_mb,
            "environment": {key: str(value) for key, value in environment.items()},
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        out, err = ((folder / name).read_text("utf-8", "backslashreplace") for name in ("stdout", "stderr"))
        return End(out=out, err=err, **answer)


def _call(entry: str) -> None:
    """Import a module, and call its function where the entry ends with ":function"."""
    from importlib import import_module

    module, _, function = entry.partition(":")
    found = import_module(module)
    if function:
        getattr(found, function)()


def _serve(modules: list[str]) -> None:
    for entry in modules:
        _call(entry)
    for line in sys.stdin:
        order = json.loads(line)
        start = time.monotonic()
        child = os.fork()
        if not child:
            _obey(order)
        status, usage, timed_out = 0, None, False
        while True:
            done, status, usage = os.wait4(child, os.WNOHANG)
            if done:
                break
            if time.monotonic() - start > order["timeout_s"] and not timed_out:
                timed_out = True
                os.kill(child, 9)
            time.sleep(0.002)
        answer = {
            "code": os.waitstatus_to_exitcode(status),
            "peak_mb": usage.ru_maxrss / 1024,
            "seconds": time.monotonic() - start,
            "timed_out": timed_out,
        }
        print(json.dumps(answer), flush=True)


def _obey(order: dict) -> None:
    """The child: limits, redirection, the command, the end."""
    import atexit
    import resource
    import traceback

    code = 70
    try:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + order["memory_mb"] * 2**20,) * 2)
        folder = Path(order["folder"])
        (folder / "tmp").mkdir(exist_ok=True)
        os.environ.update(order["environment"], TMPDIR=str(folder / "tmp"))
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        if order["setup"]:
            _call(order["setup"])
        from monai_lung.cli import run

        code = run([os.fsdecode(a.encode("latin-1")) for a in order["arguments"]])
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1:])
