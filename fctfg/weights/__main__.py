"""The command ``python -m fctfg.weights``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fctfg.weights import CATALOGUE, WeightsError, cache_folder, check, entry, fetch, find, locate, missing
from fctfg.weights.formats import KINDS

_IMPORT_HELP = """\
Turn an official checkpoint into a .safetensors file that the networks here load.

KIND is the sort of FILE:
{kinds}

The file is read without running it (pickles that ask for more than tensors are refused). Sizes and widths are read off
the tensors' shapes; then every key and shape must be the network's, and the filters of StyleGAN2 must have its values.
Networks keep their names in the file: a pSp file gives 'encoder' and 'decoder'. The file written says its kind, its
source's sha256 and the sizes found.

examples
  python -m fctfg.weights import psp psp_ffhq_encode.pt
  python -m fctfg.weights import stylegan2 checkpoint/550000.pt --out voxceleb2.safetensors
  python -m fctfg.weights import wav2lip-audio ~/.cache/fctfg/weights/wav2lip.pth --out audio.safetensors

in Python
  from fctfg.weights import importing
  encoder = importing.read("psp_ffhq_encode.safetensors").build("encoder")"""


def _list(names: list[str]) -> int:
    for weights in map(entry, names or CATALOGUE):
        place = find(weights.name)
        print(f"{weights.name:16} {place or 'not found'}")
        sizes = [f"{f.name} ({f.size / 1e6:.1f} MB)" if f.size else f.name for f in weights.files]
        print(f"    {(' or ' if weights.any_of else ', ').join(sizes)}")
        print(f"    for: {weights.needed_by}\n    licence: {weights.licence}\n    {weights.page}", end="")
        print(f" ({weights.how})" if weights.how else "")
    return 0


def _fetch(names: list[str], folder: Path | None, file: str | None) -> int:
    failed = 0
    for name in names:
        try:
            for path in fetch(name, folder, file):
                print(f"{name}: {path}")
        except WeightsError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


def _verify(names: list[str]) -> int:
    bad = False
    for weights in map(entry, names or CATALOGUE):
        places = [(file, locate(file)) for file in weights.files]
        for file, place in places:
            if place is not None:
                verdict = check(file, place)
                bad |= verdict.startswith("WRONG")
                print(f"{weights.name}: {place}: {verdict}")
        if names and find(weights.name) is None:
            bad = True
            print(missing(weights.name), file=sys.stderr)
    return 1 if bad else 0


def _import(kind: str, source: Path, out: Path | None) -> int:
    from fctfg.weights import importing

    path = importing.convert(kind, source, out)
    imported = importing.read(path)
    print(path)
    for part, args in imported.args.items():
        numbers = sum(tensor.numel() for tensor in imported.tensors[part].values())
        settings = ", ".join(f"{name} {value}" for name, value in args.items() if not isinstance(value, dict))
        print(f"    {part:14} {numbers / 1e6:.1f} M numbers{': ' if settings else ''}{settings}")
    if imported.latent_avg is not None:
        print(f"    {'latent_avg':14} {tuple(imported.latent_avg.shape)}")
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fctfg.weights",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Weights of other projects that some columns and baselines need. Nothing is downloaded unless you ask.

  list      what there is, what needs it, its licence, and where it is on this machine
  fetch     download into the cache and check the sum
  verify    compare the files that are here with the published sums
  import    turn an official checkpoint into a checked .safetensors file that the networks here load

examples
  python -m fctfg.weights list
  python -m fctfg.weights fetch syncnet s3fd          LSE-C and LSE-D
  FCTFG_WEIGHTS=/data/weights:~/more python -m fctfg.weights verify
  python -m fctfg.weights import psp psp_ffhq_encode.pt     writes psp_ffhq_encode.safetensors
  python -m fctfg.weights import --help                     what else can be imported

Files are looked for in the folders of FCTFG_WEIGHTS, then in ~/.cache/fctfg/weights (XDG_CACHE_HOME is respected), then
where other packages keep theirs (torch hub's checkpoints, ~/.insightface, the face_recognition_models package).""",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|fetch|verify|import")
    known = f"any of: {', '.join(CATALOGUE)}"
    commands.add_parser("list", help="show the catalogue").add_argument("names", nargs="*", metavar="NAME", help=known)
    fetching = commands.add_parser("fetch", help="download by name")
    fetching.add_argument("names", nargs="+", metavar="NAME", help=known)
    fetching.add_argument(
        "--file", metavar="FILE", help="a certain file of NAME, where list shows several to choose from"
    )
    fetching.add_argument("--to", type=Path, metavar="FOLDER", help=f"instead of {cache_folder()}")
    commands.add_parser("verify", help="check sums").add_argument("names", nargs="*", metavar="NAME", help=known)
    importing = commands.add_parser(
        "import",
        help="official checkpoint to .safetensors",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_IMPORT_HELP.format(kinds="\n".join(f"  {kind.name:14} {kind.file}" for kind in KINDS.values())),
    )
    importing.add_argument("kind", metavar="KIND", help="one of those above")
    importing.add_argument("file", metavar="FILE", type=Path, help=".pth, .pt or .safetensors")
    importing.add_argument("--out", metavar="FILE", type=Path, help="instead of FILE with the ending .safetensors")
    asked = parser.parse_args(argv)
    try:
        if asked.command == "list":
            return _list(asked.names)
        if asked.command == "import":
            return _import(asked.kind, asked.file, asked.out)
        return _fetch(asked.names, asked.to, asked.file) if asked.command == "fetch" else _verify(asked.names)
    except WeightsError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # `list | head`
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
