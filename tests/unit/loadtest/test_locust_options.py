"""Plain Locust's flags are those of `conch load run`, each declared once."""

import argparse
import dataclasses
from pathlib import Path

from clients.access import Access
from loadtest.locust_options import LOCUSTS_OWN, add_load_options, take_access
from loadtest.target import ModelLoad


def test_every_flag_of_a_load_is_a_flag_of_plain_locust() -> None:
    parser = argparse.ArgumentParser()
    add_load_options(parser.add_argument_group("Triton"))
    parsed = vars(parser.parse_args(["--model", "resnet", "--rate", "7", "--batch", "3", "--warmup", "2s"]))
    wanted = {field.name for flags in (ModelLoad, Access) for field in dataclasses.fields(flags)} - set(LOCUSTS_OWN)
    assert wanted | {"in_time_ms", "results"} == parsed.keys()
    assert (parsed["model"], parsed["rate"], parsed["batch"], parsed["warmup"]) == ("resnet", 7.0, 3, "2s")
    assert "--arrivals {poisson,constant,closed}" in " ".join(parser.format_help().split())
    assert all(action.help for action in parser._actions)
    assert "or all:" not in parser.format_help()  # which only `conch load run` can


def test_what_lets_a_process_in_is_not_among_the_options_that_a_master_sends() -> None:
    parser = argparse.ArgumentParser()
    add_load_options(parser.add_argument_group("Triton"))
    options = parser.parse_args(["--ca", "ca.pem", "--token", "secret", "--plain-text"])
    assert take_access(options) == Access(ca=Path("ca.pem"), token="secret", plain_text=True)
    assert not {field.name for field in dataclasses.fields(Access)} & vars(options).keys()
    assert take_access(parser.parse_args([])) == Access()
