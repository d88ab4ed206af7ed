"""What `capacity` and `profile` found, in a sentence: on the screen, on their pages and in the report."""

from typing import Any


def capacity_says(result: dict[str, Any]) -> str:
    """Of the content of a capacity's JSON file, without the model."""
    low, high = result["kept_per_s"], result["not_kept_per_s"]
    ends = "the load generator's end" if result["limited_by_generator"] else "not kept"
    above = f"above that {high:.0f}/s ({ends})" if high else "no higher rate was tried"
    return f"{result['promise']}: kept at {low or 0:.0f}/s, {above}"


def profile_says(result: dict[str, Any]) -> str:
    """Of the content of a profile's JSON file, without the model."""
    points = result["points"]
    if not points:
        return "no rate was held to its end"
    end = "where the median is 20 times the first" if result["collapsed"] else "without a collapse"
    return f"{points[0]['rate']:.0f} to {points[-1]['rate']:.0f} requests/s, {end}"
