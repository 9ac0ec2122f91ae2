"""``python -m protocols.user_study``: see ``--help``."""

from __future__ import annotations

import argparse
import importlib
import sys

from protocols import cli

DESCRIPTION = """A rating study like the paper's Table 2: people watch videos in a browser and rate each from 1 to 5.

  python -m protocols.user_study build --runs RUN RUN ... --videos 20 --seed 1 --out STUDY
  python -m protocols.user_study invite STUDY 40 --base-url https://study.example.org > links.txt
  python -m protocols.user_study serve STUDY
  python -m protocols.user_study status STUDY
  python -m protocols.user_study analyse STUDY

RUN is the output folder of an evaluation (python -m protocols.voxceleb2 and its like), one method each. Without a
server: export writes one folder that runs from a disk and gives ratings back as files, and import reads those.
"""

#: command -> (module, what its parser and function are called there, help); imported when the command is given
COMMANDS = {
    "build": ("build", "", "make a study from the videos of several runs"),
    "invite": ("invite", "", "add participants and print their links"),
    "serve": ("serve", "", "run the web application"),
    "status": ("invite", "status_", "how far each participant is"),
    "export": ("static_export", "", "write a folder that runs without a server"),
    "import": ("static_import", "", "read the files that came back from an exported folder"),
    "analyse": ("analyse", "", "mean opinion scores, agreement, Table 2"),
    "power": ("analyse", "power_", "how many participants a difference needs"),
}


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    p = argparse.ArgumentParser(
        prog="python -m protocols.user_study",
        description=DESCRIPTION,
        epilog="`COMMAND --help` says more of each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = None
    for name, (module_name, prefix, text) in COMMANDS.items():
        own = commands.add_parser(name, help=text, description=text)
        if argv[:1] == [name]:
            module = importlib.import_module(f"protocols.user_study.{module_name}")
            getattr(module, f"{prefix}add_arguments")(own)
            run = getattr(module, f"{prefix}run")
    args = p.parse_args(argv)
    return cli.guarded(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
