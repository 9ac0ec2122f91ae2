"""LPIPS against its authors' printed values and their package; trunks that are not what they should be; the shim."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fctfg.weights import WeightsError
from metrics import perceptual
from metrics.interface import Context, Footage, MetricFailure

ROOT = Path(__file__).resolve().parent.parent
TRUNKS = {"lpips_alex": "alexnet_features.pth", "lpips_vgg": "vgg16_features.pth"}
needs_lpips = pytest.mark.skipif(importlib.util.find_spec("lpips") is None, reason="needs the package lpips")


@pytest.fixture
def trunks(weights_dir, monkeypatch) -> Path:
    """The trunks, found through the search path; any attempt to download fails the test."""
    monkeypatch.setenv("FCTFG_WEIGHTS", str(weights_dir))
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda *a, **k: pytest.fail("tried to download"))
    return weights_dir


def noise(n: int, size: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def planes(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def context(generated: np.ndarray, reference: np.ndarray | None) -> Context:
    sides = [None if side is None else Footage(lambda side=side: [side]) for side in (generated, reference)]
    return Context(*sides)


def scored(names: list[str], generated: np.ndarray, reference: np.ndarray, chunk: int = 16) -> dict:
    accumulator = perceptual.PerceptualScores(names, context(generated, reference))
    for start in range(0, len(generated), chunk):
        accumulator.update(generated[start : start + chunk], reference[start : start + chunk])
    return accumulator.result()


@needs_lpips
@pytest.mark.parametrize(
    ("name", "printed", "within"), [("lpips_alex", (0.722, 0.138), 5e-4), ("lpips_vgg", (0.5686, 0.4217), 5e-5)]
)
def test_the_authors_example(name, printed, within, trunks, real):
    ref, *others = (
        np.array(Image.open(real / "lpips_examples" / f"ex_{which}.png").convert("RGB"))
        for which in ("ref", "p0", "p1")
    )
    values = perceptual.load(name, "cpu")(planes(np.stack([ref, ref])), planes(np.stack(others))).tolist()
    assert values == pytest.approx(printed, abs=within)  # half of the last digit printed


@needs_lpips
@pytest.mark.parametrize("name", TRUNKS)
def test_equals_the_package_and_ignores_the_batch(name, trunks):
    """The package's own forward, both sides apart, against ours in batches of 1, 2 and 3."""
    from metrics.torchvision_shim import import_beside_torchvision

    model = perceptual.LPIPS(name, trunks / TRUNKS[name])
    with warnings.catch_warnings(action="ignore"):
        net = perceptual.VARIANTS[name][0]
        theirs = import_beside_torchvision("lpips").LPIPS(net=net, pnet_rand=True, verbose=False)
    theirs.load_state_dict(model._model.state_dict())
    x, y = planes(noise(3, seed=1)), planes(noise(3, seed=2))
    y[1] = x[1] // 2 + y[1] // 2  # nearer than noise to noise
    with torch.inference_mode():
        wanted = theirs(x / 127.5 - 1, y / 127.5 - 1)
    for model.batch in (1, 2, 3):
        assert torch.allclose(model(x, y), wanted.flatten().double(), rtol=1e-5, atol=0)
    assert wanted.min() > 0.01


@needs_lpips
def test_a_clip_is_the_mean_of_its_frames_however_it_is_cut(trunks):
    generated, reference = noise(7, seed=3), noise(7, seed=4)
    frames = perceptual.load("lpips_alex", "cpu")(planes(generated), planes(reference))
    for chunk in (1, 3, 7):
        result = scored(["lpips_alex"], generated, reference, chunk)["lpips_alex"]
        assert result.failure is None
        assert result.value == pytest.approx(frames.mean().item(), rel=1e-6)
        assert result.details == {"frames": 7, "trunk": "alexnet_features.pth"}


@needs_lpips
def test_equal_frames_cost_nothing_and_more_blur_costs_more(trunks):
    picture = np.array(Image.fromarray(noise(1, 8)[0]).resize((96, 96), Image.BICUBIC))
    softer = [np.array(Image.fromarray(picture).resize((k, k)).resize((96, 96))) for k in (96, 48, 24, 12)]
    values = perceptual.load("lpips_alex", "cpu")(planes(np.stack(softer)), planes(np.stack([picture] * 4))).tolist()
    assert values[0] == 0
    assert values == sorted(values)
    assert values[3] > 10 * values[1]


@needs_lpips
def test_frames_too_small_for_a_network_fail_that_variant_alone(trunks):
    results = scored(["lpips_alex", "lpips_vgg"], noise(2, 24), noise(2, 24, seed=1))
    assert results["lpips_alex"].failure == "video: lpips_alex needs frames of at least 31x31 pixels, these are 24x24"
    assert results["lpips_vgg"].value > 0
    assert perceptual.load("lpips_alex", "cpu")(planes(noise(1, 31)), planes(noise(1, 31, seed=1))).isfinite().all()
    assert perceptual.load("lpips_vgg", "cpu")(planes(noise(1, 16)), planes(noise(1, 16, seed=1))).isfinite().all()


@needs_lpips
def test_unequal_shapes_no_reference_and_no_frames(trunks):
    with pytest.raises(ValueError, match="cannot be compared"):
        perceptual.load("lpips_alex", "cpu")(planes(noise(2)), planes(noise(1)))
    with pytest.raises(MetricFailure, match="LPIPS needs a reference video"):
        perceptual.PerceptualScores(["lpips_alex"], context(noise(1), None))
    assert scored(["lpips_alex"], noise(0), noise(0))["lpips_alex"].failure == "video: has no frames"


@needs_lpips
def test_a_whole_torchvision_checkpoint_serves_and_random_numbers_are_left_alone(trunks, tmp_path):
    state = torch.load(trunks / "alexnet_features.pth", weights_only=True) | {"classifier.1.weight": torch.zeros(2, 2)}
    torch.save(state, tmp_path / "alexnet-owt-7be5be79.pth")
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    with warnings.catch_warnings(action="error"):
        model = perceptual.LPIPS("lpips_alex", tmp_path / "alexnet-owt-7be5be79.pth")
    assert torch.equal(torch.rand(3), wanted)
    x, y = planes(noise(1)), planes(noise(1, seed=1))
    assert torch.equal(model(x, y), perceptual.load("lpips_alex", "cpu")(x, y))


@needs_lpips
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("features.3.bias"), "key 'features.3.bias' is missing; give torchvision's file"),
        (lambda s: s.update({"features.0.weight": torch.zeros(64, 3, 3, 3)}), "key 'features.0.weight' has shape"),
        (lambda s: s.update({"features.12.weight": torch.zeros(1)}), "unexpected key 'features.12.weight'"),
    ],
)  # fmt: skip
def test_a_trunk_that_is_another_network(change, says, trunks, tmp_path):
    state = dict(torch.load(trunks / "alexnet_features.pth", weights_only=True))
    change(state)
    torch.save(state, tmp_path / "trunk.pth")
    with pytest.raises(WeightsError) as error:
        perceptual.LPIPS("lpips_alex", tmp_path / "trunk.pth")
    assert str(error.value).startswith(f"{tmp_path / 'trunk.pth'}: {says}")
    assert "\n" not in str(error.value)


class Intruder:
    def __reduce__(self):
        return (print, ("code from a weights file was run",))


@needs_lpips
def test_a_trunk_that_would_run_code_is_refused(tmp_path, capsys):
    path = tmp_path / "trunk.pth"
    torch.save({"features.0.weight": Intruder()}, path)
    with pytest.raises(WeightsError, match=r"trunk\.pth: .*refused"):
        perceptual.LPIPS("lpips_alex", path)
    path.write_bytes(pickle.dumps(Intruder()))
    with pytest.raises(WeightsError, match=r"trunk\.pth: "):
        perceptual.LPIPS("lpips_alex", path)
    assert "was run" not in capsys.readouterr().out


def test_what_is_missing_is_said_in_one_line(monkeypatch, tmp_path):
    for name in ("FCTFG_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    for reason, trunk in ((perceptual.alex_unavailable(), "alexnet"), (perceptual.vgg_unavailable(), "vgg16")):
        assert "\n" not in reason
        assert f"fetch {trunk}" in reason or "pip install" in reason
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert perceptual.alex_unavailable() == "needs the package lpips and torchvision (pip install 'fctfg[lpips]')"


def test_asking_costs_no_torch():
    code = "import sys, metrics.perceptual as p; p.alex_unavailable(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="needs the package torchvision")
def test_torchvision_imports_in_a_fresh_process_and_its_missing_operators_still_fail():
    code = (
        "from metrics.torchvision_shim import import_beside_torchvision as load\n"
        "vision = load('torchvision'); assert load('torchvision') is vision\n"
        "import torch, torchvision.models\n"
        "if not vision.extension._has_ops():\n"
        "    try: torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)\n"
        "    except NotImplementedError: pass\n"
        "    else: raise SystemExit('an operator without a kernel ran')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
