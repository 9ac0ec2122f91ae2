"""Recipes: the paper's figures, the overrides, and what a checkpoint's recipe is compared by."""

import dataclasses
import inspect
import json
import re
from pathlib import Path

import pytest

from fctfg import recipes
from fctfg.nets import mel
from fctfg.recipes import Recipe
from fctfg.settings import SettingsError


def test_the_paper_s_figures():
    r = recipes.paper256()
    assert (r.generator.size, r.generator.n_styles, r.generator.style_dim) == (256, 14, 512)  # A24
    assert r.latent.manipulated(14) == (1, 2, 3, 4, 7, 8, 9, 10)
    assert r.latent.with_audio(14) == (7, 8)
    loss = r.losses
    assert (loss.ortho, loss.sync, loss.identity, loss.reconstruction, loss.perceptual, loss.gan) == (
        1, 0.1, 0.5, 1, 1, 0.1,
    )  # fmt: skip
    assert (mel.SAMPLE_RATE, mel.WINDOW, mel.HOP, mel.N_MELS) == (16000, 800, 200, 80)
    assert r.fctfg.rate == 1e-4


def test_counting_from_one_moves_every_layer_down():  # A1
    r = recipes.override(recipes.paper256(), "latent.count_from=1")
    assert r.latent.manipulated(14) == (0, 1, 2, 3, 6, 7, 8, 9)
    assert r.latent.with_audio(14) == (6, 7)


def test_a_smaller_network_keeps_the_layers_that_it_has():
    assert recipes.demo().generator.n_styles == 12
    assert recipes.demo().latent.manipulated(12) == (1, 2, 3, 4, 7, 8, 9, 10)
    assert recipes.demo64().generator.n_styles == 10
    assert recipes.demo64().latent.manipulated(10) == (1, 2, 3, 4, 7, 8, 9)


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_json_brings_a_recipe_back(name):
    recipe = recipes.get(name)
    assert recipe.name == name
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_json_of_another_version_names_the_fields():
    data = json.loads(recipes.demo().to_json())
    data["latent"]["attention"] = True
    del data["audio"]["width"]
    with pytest.raises(SettingsError, match=r"audio\.width|latent\.attention"):
        Recipe.from_json(json.dumps(data))


def test_override_reads_the_field_s_type():
    r = recipes.override(
        recipes.demo(),
        "latent.fusion=lstm",
        "latent.layers=1,2,3",
        "latent.center=true",
        "losses.gan=0.5",
        "fctfg.batch=4",
        "name=mine",
    )
    assert (r.latent.fusion, r.latent.layers, r.latent.center) == ("lstm", (1, 2, 3), True)
    assert (r.losses.gan, r.fctfg.batch, r.name) == (0.5, 4, "mine")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("latent.fusion=gru", "choose from conv, lstm, none"),
        ("latent.fusoin=conv", "no field 'latent.fusoin'; there are layers"),
        ("latent=conv", "is a section; set one of layers"),
        ("name.first=x", "name has no parts"),
        ("fctfg.batch=many", "not a int"),
        ("latent.center=perhaps", "not a bool"),
        ("fctfg.batch", "write section.field=value"),
    ],
)
def test_override_says_what_is_wrong(text, says):
    with pytest.raises(SettingsError, match=says):
        recipes.override(recipes.demo(), text)


def test_unknown_recipe():
    with pytest.raises(SettingsError, match="known are paper256, demo, demo64"):
        recipes.get("paper512")


def test_differences_name_what_shapes_the_networks():
    a = recipes.demo()
    b = recipes.override(a, "latent.window=7", "fctfg.rate=1", "generator.style_dim=64")
    assert recipes.differences(a, b) == ["generator.style_dim: 192, not 64", "latent.window: 5, not 7"]
    assert recipes.differences(a, a) == []


def test_every_ambiguity_has_a_field_and_the_page_names_it():
    """docs/ambiguities.md has A1 to A26, each with fields that exist; the recipe's source cites each number, too."""
    cited = {int(n) for n in re.findall(r"\bA(\d+)\b", inspect.getsource(recipes))}
    assert cited >= set(range(1, 27)), sorted(set(range(1, 27)) - cited)
    page = (Path(__file__).parents[1] / "docs/ambiguities.md").read_text()
    rows = re.findall(r"^\| A(\d+) \|.*\| (.*) \|$", page, re.MULTILINE)
    assert [int(n) for n, _ in rows] == list(range(1, 27))
    for number, text in rows:
        named = re.findall(r"`(\w+)\.(\w+|\*)`", text)
        assert named, f"A{number} names no field"
        for section, field in named:
            known = {f.name for f in dataclasses.fields(getattr(recipes.paper256(), section))}
            assert field == "*" or field in known, f"A{number}: {section}.{field}"


def test_evaluation_says_what_the_protocols_do():
    """The fields of ``evaluation`` against the code that decides: metrics' names and the published lists."""
    from fctfg.data.clips import FPS
    from metrics.registry import METRICS, TABLE1
    from protocols.methods import Method

    said = recipes.paper256().evaluation
    assert {said.ssim, said.lmd, said.lse} <= set(TABLE1)  # A16 A17 A18
    assert said.fps == FPS  # A25
    lists = Path(__file__).parents[1] / "protocols/lists"
    mead = json.loads((lists / "mead-first-frame.v1.json").read_text())
    assert mead["n_clips"] == len(mead["clips"]) == said.mead_clips  # A14
    # A15: the released crops, whole; A20: a method is handed one picture, and what drives it apart from that
    people = re.findall("^id\\d+$", (lists / "voxceleb2_test_identities.txt").read_text(), re.MULTILINE)
    assert (said.voxceleb2_frames, len(people)) == ("official-224", 118)  # A15
    assert said.baseline_input == "first-frame"
    assert list(inspect.signature(Method.animate).parameters) == ["self", "reference", "driving", "audio"]
    assert said.drivers == "same-clip"  # A26
    # A19: citation [8] is ATVGnet, whose landmarks are dlib's mouth points less their mean
    assert "ATVGnet" in METRICS[said.lmd].source


def test_sync_boxes_are_those_of_the_data():
    from fctfg.nets import sync_expert

    assert recipes.paper256().losses.sync_box == sync_expert.VOXCELEB2_BOX
    assert recipes.demo().losses.sync_box == sync_expert.PUPPET_BOX


def test_every_ambiguity_has_a_test():
    """Its number stands beside what is asserted."""
    tests = "\n".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    comments = "\n".join(re.findall(r"#.*", tests))
    cited = {int(n) for n in re.findall(r"\bA(\d+)\b", comments)}
    assert cited >= set(range(1, 27)), sorted(set(range(1, 27)) - cited)
