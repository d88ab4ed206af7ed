"""How a server runs a model, asked by either client over either protocol."""

from typing import Any

import pytest

from clients import UnknownModel
from tests.support.client_kinds import KINDS, called
from tests.support.kserve_servers import serving_double


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_configuration_is_what_the_server_says(protocol: str) -> None:
    with serving_double(protocol) as (port, model):
        url = f"{protocol}://127.0.0.1:{port}"
        model.config |= {"instance_group": [{"count": 3, "kind": "KIND_CPU"}]}
        for kind in KINDS:

            def ask(client: Any) -> Any:
                return client.configuration("double")

            def change(_: Any) -> None:
                model.config["max_batch_size"] += 1

            before, _, after = called(kind, url, ask, change, ask)  # asked anew each time
            assert after["max_batch_size"] == before["max_batch_size"] + 1
            assert before["instance_group"] == [{"count": 3, "kind": "KIND_CPU"}]
            with pytest.raises(UnknownModel, match="no model 'other'; it has: double"):
                called(kind, url, lambda client: client.configuration("other"))
