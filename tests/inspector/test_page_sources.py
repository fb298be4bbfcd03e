"""The page's own files: no markup from strings, nothing from elsewhere, colours that can be told apart and read."""

import ast
import re
from importlib.resources import files
from pathlib import Path

import pytest

STATIC = {each.name: each.read_text("utf-8") for each in files("agentmem.inspector").joinpath("static").iterdir()}
SCRIPTS = sorted(name for name in STATIC if name.endswith(".js"))
STYLE = STATIC["style.css"]
ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "agentmem"
TEXTS = ("text", "soft", "accent", "good", "bad")
GROUNDS = ("ground", "panel", "tint")


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_string_becomes_markup_or_code(name):
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc|javascript:|cssText"
    )
    assert not re.search(forbidden, STATIC[name])


@pytest.mark.parametrize("name", sorted(STATIC))
def test_nothing_is_loaded_from_elsewhere(name):
    addresses = set(re.findall(r"(?:https?:)?//[\w.]+\.\w+", STATIC[name])) - {"http://www.w3.org"}
    assert not addresses
    assert len(STATIC[name].encode()) < 20_000
    assert len(STATIC[name].splitlines()) <= 400


def test_the_page_has_no_script_or_style_of_its_own():
    page = STATIC["index.html"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    assert re.findall(r"<html lang=", page)
    assert "user-scalable" not in page
    assert "maximum-scale" not in page


def test_every_module_that_is_imported_is_there():
    for name in SCRIPTS:
        for imported in re.findall(r'from "\./([\w.]+)"', STATIC[name]):
            assert imported in STATIC


def colours(block):
    """Return the colours that a block of the style sheet names."""
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


def schemes():
    """Return the colours of the light and of the dark page."""
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.S)
    light, dark = colours(light), colours(dark)
    assert set(light) == set(dark)
    return {"light": light, "dark": dark}


def contrast(one, other):
    """Return the contrast ratio of two colours, as WCAG 2 defines it."""

    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_the_one_of_the_definition():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("text", TEXTS)
def test_texts_can_be_read(scheme, ground, text):
    chosen = schemes()[scheme]
    assert contrast(chosen[text], chosen[ground]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_buttons_bars_and_borders_stand_out(scheme):
    chosen = schemes()[scheme]
    assert contrast(chosen["on-accent"], chosen["accent"]) >= 4.5
    parts = [name for name in chosen if re.fullmatch(r"c\d|line|focus", name)]
    assert len(parts) == 10
    for part in parts:
        for ground in ("ground", "panel"):
            assert contrast(chosen[part], chosen[ground]) >= 3, (part, ground)


def test_every_colour_of_the_style_sheet_is_a_named_one():
    rules = re.sub(r":root \{.*?\}", "", STYLE, flags=re.S)
    assert not re.findall(r"#[0-9a-f]{3,8}\b|\brgb|\bhsl", rules)
    used = set(re.findall(r"var\(--([\w-]+)\)", rules))
    assert used <= set(schemes()["light"])


def test_sizes_follow_the_reader_s_text_and_motion_can_be_reduced():
    assert not re.findall(r"font(?:-size)?: ?\d+px", STYLE)
    assert "prefers-reduced-motion" in STYLE
    assert "prefers-color-scheme: dark" in STYLE


def test_a_wheel_holds_the_page():
    (listed,) = re.findall(r"^agentmem = (\[.*\])$", (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    patterns = ast.literal_eval(listed)
    packaged = {
        path.name
        for pattern in patterns
        for path in PACKAGE.glob(pattern)
        if path.parent.parent == PACKAGE / "inspector"
    }
    assert packaged == set(STATIC)
