from pathlib import Path

import pytest

from conch.contracts.errors import ConchError
from conch.contracts.requests import read_requests

STATEFUL = """
max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: [1] reshape { } }
output { name: "y" data_type: TYPE_FP32 dims: [2, -1] }
sequence_batching {
  control_input { name: "START" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [0, 1] } }
  state { input_name: "h_in" output_name: "h_out" data_type: TYPE_FP32 dims: [8] }
}
"""


def test_states_and_controls_are_no_part_of_a_request(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text(STATEFUL)
    requests = read_requests(tmp_path / "config.pbtxt")
    assert requests is not None
    assert (requests.inputs, requests.outputs) == ({"x"}, {"y"})
    assert (requests.max_batch_size, requests.most_items, requests.in_sequences) == (4, 4, True)
    assert requests.reshaped == {"x": (1,)}


def test_without_a_batch_axis_a_request_is_one_item(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text('input { name: "x" data_type: TYPE_FP32 dims: [1] }')
    requests = read_requests(tmp_path / "config.pbtxt")
    assert requests is not None
    assert (requests.max_batch_size, requests.most_items, requests.in_sequences) == (0, 1, False)


def test_no_configuration_is_none_and_a_damaged_one_is_said(tmp_path: Path) -> None:
    assert read_requests(tmp_path / "config.pbtxt") is None
    (tmp_path / "config.pbtxt").write_text("input {")
    with pytest.raises(ConchError, match=r"cannot read .*config\.pbtxt: .*`conch lint` says more"):
        read_requests(tmp_path / "config.pbtxt")
