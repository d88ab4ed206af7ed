"""Recipes are found by name or by path, and what is none is told so."""

from pathlib import Path

import pytest

from conch.contracts.errors import ConchError
from tests.support.recipes import write_line_recipe
from training.catalogue import DEMO, NETWORKS, find_recipe, named, origin


def test_all_are_the_five_of_the_demo_and_networks_the_others() -> None:
    assert set(named("all")) == set(DEMO) == {"cnn", "resnet", "lstm", "autoencoder", "gan"}
    assert named("networks") == NETWORKS
    assert named("mlp") == ("mlp",)


def test_a_recipe_in_the_folder_of_its_family_is_known_by_its_name() -> None:
    recipe = find_recipe("perceptron")
    assert recipe.source().parent.name == "classic"
    assert origin(recipe) == recipe.name() == "perceptron"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConchError, match=r"no recipe 'cn'; known are .*cnn.*resnet"):
        find_recipe("cn")


def test_a_recipe_of_ones_own_is_found_by_its_path(tmp_path: Path) -> None:
    recipe = find_recipe(str(write_line_recipe(tmp_path)))
    assert recipe.name() == "line"
    assert recipe().epochs == 30


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\n", "defines none"),
        ("import nosuchmodule\n", "ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("def broken(:\n", "SyntaxError"),
    ],
)
def test_a_file_without_a_recipe_says_what_is_wrong(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ConchError, match=reason):
        find_recipe(str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConchError, match=r"gone\.py: there is no such file"):
        find_recipe(str(tmp_path / "gone.py"))


def test_a_file_does_not_overwrite_a_shipped_recipe(tmp_path: Path) -> None:
    write_line_recipe(tmp_path).rename(tmp_path / "cnn.py")
    with pytest.raises(ConchError, match="would overwrite the shipped cnn"):
        find_recipe(str(tmp_path / "cnn.py"))


def test_a_file_may_be_called_as_a_module_of_python(tmp_path: Path) -> None:
    write_line_recipe(tmp_path).rename(tmp_path / "random.py")
    assert find_recipe(str(tmp_path / "random.py")).name() == "random"


def test_a_file_name_that_is_no_model_name_is_refused(tmp_path: Path) -> None:
    write_line_recipe(tmp_path).rename(tmp_path / "my line.py")
    with pytest.raises(ConchError, match="a recipe file's name becomes the model's"):
        find_recipe(str(tmp_path / "my line.py"))
