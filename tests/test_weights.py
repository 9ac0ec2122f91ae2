"""fctfg.weights: where files are looked for, what a missing one says, fetching, sums, and refused pickles."""

from __future__ import annotations

import bz2
import hashlib
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path, PurePosixPath
from socketserver import ThreadingTCPServer

import pytest

from fctfg import weights
from fctfg.weights import CATALOGUE, Entry, File
from fctfg.weights.__main__ import main

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A machine without any weights but what the test puts there."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("FCTFG_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def put(path: Path, data: bytes = b"weights") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def catalogue(monkeypatch, *files: File, **fields) -> None:
    made = Entry("toy", files, "the toy column", "none", "http://toy.example/page", **fields)
    monkeypatch.setitem(CATALOGUE, "toy", made)


# --------------------------------------------------------------------------------------------------- the catalogue


def test_the_catalogue_is_whole():
    assert {
        "dlib68", "fan", "s3fd", "syncnet", "yunet", "alexnet", "vgg16", "arcface_r50", "arcface_mbf", "landmarks106",
        "face_landmarker", "inception", "wav2lip", "wav2lip_gan", "lipsync_expert", "pc_avs", "audio2head",
        "makeittalk", "makeittalk_data", "resemblyzer", "fan3d", "vgg19", "ir_se50", "stylegan2", "psp", "hyperstyle",
    } == set(CATALOGUE)  # fmt: skip
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert entry.needed_by
        assert entry.licence
        assert entry.page.startswith(("http://", "https://"))
        for file in entry.files:
            assert file.sha256 is None or (len(file.sha256) == 64 and set(file.sha256) <= set("0123456789abcdef"))
            assert file.url is None or file.url.rpartition("/")[2].startswith(
                PurePosixPath(file.name).name if file.member is None else "buffalo_"
            )
        # What no program can fetch says where to look instead.
        assert any(f.url for f in entry.files) or entry.how


def test_hashes_in_torch_hub_names_agree_with_the_sums():
    named = [f for e in CATALOGUE.values() for f in e.files if f.url and f.sha256 and f.name.split(".")[0].count("-")]
    checked = 0
    for file in named:
        digits = file.name.split(".")[0].rpartition("-")[2]
        if len(digits) in (8, 10) and set(digits) <= set("0123456789abcdef"):
            assert file.sha256.startswith(digits), file.name
            checked += 1
    assert checked >= 6


def test_real_files_have_the_catalogues_sums(weights_dir, monkeypatch, capsys):
    monkeypatch.setenv("FCTFG_WEIGHTS", str(weights_dir))
    listed = dict(reversed(line.split()) for line in (weights_dir / "SHA256SUMS").read_text().splitlines())
    ours = {f.name: f.sha256 for e in CATALOGUE.values() for f in e.files}
    assert listed.items() <= ours.items()
    assert main(["verify", "yunet", "face_landmarker", "alexnet"]) == 0
    assert capsys.readouterr().out.count(": ok\n") == 3


def test_dlibs_predictor_is_found_in_its_package_without_importing_it(home):
    pytest.importorskip("dlib")
    if weights.find("dlib68") is None:
        pytest.skip("needs face_recognition_models")
    assert weights.find("dlib68").stat().st_size == CATALOGUE["dlib68"].files[0].size
    assert "face_recognition_models" not in sys.modules


# ------------------------------------------------------------------------------------------------------ finding


def test_search_order(home, tmp_path, monkeypatch):
    name = "syncnet_v2.model"
    assert weights.find("syncnet") is None
    hub = put(home / ".cache/torch/hub/checkpoints" / name)
    assert weights.find("syncnet") == hub
    cached = put(home / ".cache/fctfg/weights" / name)
    assert weights.find("syncnet") == cached
    second, first = put(tmp_path / "b" / name), put(tmp_path / "a" / name)
    monkeypatch.setenv(
        "FCTFG_WEIGHTS", os.pathsep.join([str(tmp_path / "none"), str(first.parent), str(second.parent)])
    )
    assert weights.find("syncnet") == first == weights.require("syncnet")
    monkeypatch.setenv("FCTFG_WEIGHTS", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert weights.cache_folder() == tmp_path / "xdg/fctfg/weights"
    assert weights.find("syncnet") is None
    monkeypatch.setenv("TORCH_HOME", str(home / ".cache/torch"))
    assert weights.find("syncnet") == hub


def test_other_packages_places(home):
    r50 = put(home / ".insightface/models/buffalo_l/w600k_r50.onnx")
    assert weights.find("arcface_r50") == r50
    assert weights.find("arcface_mbf") is None


def test_any_of_and_all_of(home):
    cache = home / ".cache/fctfg/weights"
    second = put(cache / "s3fd-619a316812.pth")
    assert weights.find("s3fd") == second
    assert weights.find("s3fd", "sfd_face.pth") is None
    first = put(cache / "sfd_face.pth")
    assert weights.find("s3fd") == first
    for net in ("G", "V", "E"):
        put(cache / f"pc_avs/latest_net_{net}.pth")
        assert weights.find("pc_avs") is None
    put(cache / "latest_net_A_sync.pth")  # a flat folder serves too
    assert weights.find("pc_avs") == cache / "pc_avs/latest_net_G.pth"
    assert weights.find("pc_avs", "latest_net_V.pth") == cache / "pc_avs/latest_net_V.pth"


def test_what_is_missing_is_said_in_one_line(home):
    with pytest.raises(weights.MissingWeights) as excinfo:
        weights.require("syncnet")
    line = str(excinfo.value)
    assert line == (
        "syncnet_v2.model not found (weights 'syncnet', for LSE-C and LSE-D (every lse_* column)): "
        "run python -m fctfg.weights fetch syncnet, or name its folder in FCTFG_WEIGHTS"
    )
    with pytest.raises(weights.MissingWeights, match=r"see https://github.com/Rudrabha/Wav2Lip .* and put it in /"):
        weights.require("wav2lip")
    for name in CATALOGUE:
        assert "\n" not in weights.missing(name)
        assert CATALOGUE[name].needed_by in weights.missing(name)
    with pytest.raises(weights.WeightsError, match="no weights are called 'sincnet'; known are dlib68, fan"):
        weights.find("sincnet")
    with pytest.raises(weights.WeightsError, match=r"have no file 'x\.pth'; they have sfd_face"):
        weights.find("s3fd", "x.pth")


# ------------------------------------------------------------------------------------------------------- fetching


DATA = bytes(range(256)) * 4000
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serves DATA plain, as bz2, inside a zip, and cut short."""
    pack = tmp_path_factory.mktemp("server") / "pack.zip"
    with zipfile.ZipFile(pack, "w") as archive:
        archive.writestr("pack/readme.txt", "x")
        archive.writestr("pack/toy.onnx", DATA)
    pages = {
        "/toy.pth": DATA,
        "/toy.dat.bz2": bz2.compress(DATA),
        "/pack.zip": pack.read_bytes(),
        "/broken.zip": b"not a zip",
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = pages.get(self.path, DATA if self.path == "/cut.pth" else None)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if body is not None:
                self.wfile.write(body[: len(body) // 2] if self.path == "/cut.pth" else body)

        def log_message(self, *args):
            pass

    listening = ThreadingTCPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_address[1]}"
    listening.shutdown()
    listening.server_close()


@pytest.mark.parametrize(
    "file",
    [
        File("toy.pth", "/toy.pth"),
        File("sub/toy.dat", "/toy.dat.bz2"),
        File("toy.onnx", "/pack.zip", "toy.onnx"),
    ],
    ids=lambda file: file.name,
)
def test_fetch(home, server, monkeypatch, file, capsys):
    catalogue(monkeypatch, replace(file, url=server + file.url, sha256=SHA, size=len(DATA)))
    assert main(["fetch", "toy"]) == 0
    path = home / ".cache/fctfg/weights" / file.name
    assert path.read_bytes() == DATA
    assert weights.find("toy") == path
    assert [p for p in path.parent.iterdir() if p.is_file()] == [path]
    capsys.readouterr()
    assert main(["verify", "toy"]) == 0
    assert capsys.readouterr().out == f"toy: {path}: ok\n"
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("fetched what is already here"))
    assert weights.fetch("toy") == [path]


@pytest.mark.parametrize(
    ("page", "member", "sha", "reason"),
    [
        ("/toy.pth", None, "0" * 64, "WRONG|sha256"),
        ("/cut.pth", None, None, "stopped at 512000 of 1024000 bytes"),
        ("/none.pth", None, None, "Not Found"),
        ("/broken.zip", "toy.onnx", None, "not a zip"),
        ("/pack.zip", "other.onnx", None, "could not be fetched"),
    ],
)
def test_a_failed_fetch_leaves_nothing(home, server, monkeypatch, page, member, sha, reason, capsys):
    catalogue(monkeypatch, File("toy.pth", server + page, member, sha))
    with pytest.raises(weights.WeightsError, match=reason) as excinfo:
        weights.fetch("toy")
    assert "\n" not in str(excinfo.value)
    assert "see http://toy.example/page" in str(excinfo.value)
    assert list((home / ".cache/fctfg/weights").iterdir()) == []
    assert main(["fetch", "toy"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_fetch_to_a_folder_and_a_certain_file(home, server, monkeypatch, tmp_path):
    files = (File("a.pth", server + "/toy.pth", sha256=SHA), File("b.pth", server + "/toy.pth", sha256=SHA))
    catalogue(monkeypatch, *files, any_of=True)
    assert weights.fetch("toy", tmp_path / "to", "b.pth") == [tmp_path / "to/b.pth"]
    monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path / "to"))
    assert weights.fetch("toy") == [tmp_path / "to/b.pth"]  # one of them is enough
    assert main(["fetch", "toy", "--file", "a.pth", "--to", str(tmp_path / "to")]) == 0
    assert weights.find("toy") == tmp_path / "to/a.pth"


def test_what_has_no_address_is_not_fetched(home, capsys):
    assert main(["fetch", "audio2head"]) == 1
    assert "see https://github.com/wangsuzhen/Audio2Head (README, 'Pretrained Checkpoint')" in capsys.readouterr().err
    assert main(["fetch", "nothing"]) == 1
    assert "known are" in capsys.readouterr().err


def test_a_wrong_file_is_noticed(home, capsys):
    path = put(home / ".cache/fctfg/weights/face_detection_yunet_2023mar.onnx", b"\0" * 232589)
    assert main(["verify"]) == 1
    assert f"yunet: {path}: WRONG: sha256" in capsys.readouterr().out
    with pytest.raises(weights.WeightsError, match="remove it and fetch yunet again"):
        weights.fetch("yunet")
    path.write_bytes(b"\0")
    assert main(["verify", "yunet"]) == 1
    assert "WRONG: 1 bytes, should be 232589" in capsys.readouterr().out
    assert main(["verify", "syncnet"]) == 1  # asked for by name and not there


def test_list_shows_every_entry(home, capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    for name, entry in CATALOGUE.items():
        assert f"\n{name} " in "\n" + shown
        assert entry.licence in shown
        assert entry.page in shown


def test_help_teaches_without_torch():
    code = (
        "import sys, runpy; sys.argv = ['w', '--help']\ntry: runpy.run_module('fctfg.weights', run_name='__main__')\n"
    )
    code += "except SystemExit: pass\nassert not {'torch', 'tqdm', 'numpy'} & set(sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert shown.returncode == 0, shown.stderr
    assert "python -m fctfg.weights fetch syncnet s3fd" in shown.stdout
    assert "FCTFG_WEIGHTS" in shown.stdout


# ------------------------------------------------------------------------------------------------- reading checkpoints


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("harm",))


def test_sha256(tmp_path):
    assert weights.sha256(put(tmp_path / "a", DATA)) == SHA


def test_state_dicts_are_read(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    state = {"a.weight": torch.arange(6.0).reshape(2, 3)}
    torch.save(state, tmp_path / "new.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "s.safetensors")
    for name in ("new.pth", "old.pth", "s.safetensors"):
        assert torch.equal(weights.load_state_dict(tmp_path / name)["a.weight"], state["a.weight"])
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "nested.pth")
    assert set(weights.load_state_dict(tmp_path / "nested.pth")) == {"state_dict", "epoch"}


def test_a_pickle_that_needs_more_is_refused_and_not_run(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Harmful()}, tmp_path / "harm.pth")
    (tmp_path / "harm.pkl").write_bytes(pickle.dumps(Harmful(), protocol=2))
    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.pth")
    for name, asked in (("harm.pth", "mkdir"), ("harm.pkl", "mkdir"), ("module.pth", "torch.nn.modules.linear.Linear")):
        with pytest.raises(weights.WeightsError, match=f"asks for .*{asked}, which is more than tensors") as excinfo:
            weights.load_state_dict(tmp_path / name)
        assert "\n" not in str(excinfo.value)
        assert str(excinfo.value).startswith(str(tmp_path / name))
    assert not (tmp_path / "harm").exists()


def test_files_that_are_no_checkpoints(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.ones(1000)}, tmp_path / "whole.pth")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    put(tmp_path / "cut.pth", (tmp_path / "whole.pth").read_bytes()[:2000])
    put(tmp_path / "html.pth", b"<html>Not found</html>")
    put(tmp_path / "empty.pth", b"")
    put(tmp_path / "bad.safetensors", b"abc")
    for name in ("list.pth", "cut.pth", "html.pth", "empty.pth", "bad.safetensors", "none.pth", "none.safetensors"):
        with pytest.raises(weights.WeightsError) as excinfo:
            weights.load_state_dict(tmp_path / name)
        assert "\n" not in str(excinfo.value)
        assert str(excinfo.value).startswith(f"{tmp_path / name}: ")
