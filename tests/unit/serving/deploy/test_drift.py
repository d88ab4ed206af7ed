"""`conch deploy check`: what differs from what would be written now."""

from pathlib import Path

import pytest

from serving.commands.deploy import main
from tests.support import graphs
from tests.support.deployment import (
    deployed,
    put,
    write_choices,
)


class TestDrift:
    def checked(self, out: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
        capsys.readouterr()
        code = main(["check", str(out)])
        return code, capsys.readouterr().out.splitlines()

    def test_what_changed_is_told_by_file_and_field(
        self, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        folder = deployed("kubernetes", out)
        (folder / "overlays" / "mine").mkdir()
        (folder / "overlays" / "mine" / "kustomization.yaml").write_text("resources: [../gpu]\n")
        assert self.checked(out, capsys) == (0, ["no differences"])
        write_choices(out, replicas={"least": 3})
        assert self.checked(out, capsys) == (
            1, ["kubernetes/base/autoscaler.yaml: spec.minReplicas is 2, would be 3", "1 differences"],
        )  # fmt: skip
        write_choices(out)
        (own / "promises.yaml").write_text("affine: {rate: 10, error_rate: 0.01, p99_ms: 200}\n")
        code, lines = self.checked(out, capsys)
        assert (code, len(lines)) == (1, 3)
        assert "kubernetes/base/promises.yaml: affine.p99_ms is 100.0, would be 200.0" in lines
        assert "averageValue is '10857', would be '21715'" in lines[1] + lines[0]
        (own / "promises.yaml").write_text("affine: {rate: 10, error_rate: 0.01, p99_ms: 100}\n")
        put(own / "models", "affine", graphs.AFFINE, told="again")
        assert self.checked(out, capsys)[0] == 0, "a version that nobody has chosen changes nothing"
        (folder / "base" / "services.yaml").unlink()
        file = folder / "base" / "deployment.yaml"
        file.write_text(file.read_text().replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", 1))
        code, lines = self.checked(out, capsys)
        assert "kubernetes/base/services.yaml: is not there" in lines
        assert any(
            "initContainers[pull-0-affine].securityContext.readOnlyRootFilesystem is False" in one for one in lines
        )

    def test_a_folder_without_manifests_is_refused(
        self, artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["check", str(write_choices(tmp_path / "out"))]) == 1
        assert "has none of kubernetes, kserve" in capsys.readouterr().err
