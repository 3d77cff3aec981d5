"""The command line `monai-lung`: a module for each command, and what they share.

`program.py` has the table of commands and turns errors into exit codes, `options.py` the options that several commands
have, `terminal.py` what is printed. A command's module is imported when it is used, and imports heavy libraries within
its function: `--help` and `--version` load no torch.
"""

from monai_lung.cli.program import cli, main, run

__all__ = ["cli", "main", "run"]
