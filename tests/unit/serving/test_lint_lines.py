"""A finding says the line of config.pbtxt that it is about."""

import pytest

from serving.lint.lines import line_of

TEXT = """# name: "no field, and output { is none"
name: "m"  # max_batch_size
max_batch_size: 8
input [
  {
    name: "a"
    data_type: TYPE_FP32
    dims: [ 4 ]
  },
  { name: 'b', data_type: TYPE_FP32
    dims: [ -1 ] }
]
output { label_filename: "l"
  name: "y" dims: 3 }
output {
  name: "a"
  dims: [ 2,
    2 ]
}
parameters { key: "a" value { string_value: "}" } } instance_group { name: "" profile: "{" }
parameters {
  key: "threads"
  value: { string_value: "1" }
}
dynamic_batching {
  preferred_batch_size: [ 64 ]
}
"""


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("name", 2),
        ("max_batch_size", 3),
        ("input 'a'", 6),
        ("input 'b'.dims", 11),
        ("output 'a'.dims", 17),
        ("output 'y'.label_filename", 13),
        ("output 'y'.reshape", 14),  # not there: the output's own
        ("parameters 'threads'", 22),
        ("parameter 'a'", 20),
        ("dynamic_batching.preferred_batch_size", 26),
        ("dynamic_batching.max_queue_delay_microseconds", 25),
        ("version_policy", None),
        ("output 'z'", None),
    ],
)
def test_a_field_is_found_where_it_is(field: str, line: int | None) -> None:
    assert line_of(TEXT, field) == line


@pytest.mark.parametrize("text", ["", "name", "input [", "input { name: ", '"', "}}}]]"])
def test_text_that_ends_anywhere_is_read(text: str) -> None:
    assert line_of(text, "input 'a'.dims") in (None, 1)
