"""What decides a fingerprint is named file by file: this holds the lists against the tree."""

import subprocess
from pathlib import Path

import pytest

from conch import PROJECT
from conch.contracts.fingerprint import git_commit, sha256_of_code
from export.publication import up_to_date
from training.checkpoints import up_to_date as trained

# What lies in a stage's folders and decides nothing of what it makes: commands, texts on the terminal, diagnosis.
UNDECIDING = {
    "training": ("__init__", "__main__", "catalogue", "commands/", "recipes/", "checkpoints/drawing",
                 "checkpoints/manifest", "loop/faults", "loop/first_batch", "loop/overhead", "loop/processes",
                 "loop/progress", "loop/stopping"),
    "export": ("__init__", "__main__", "commands/", "conversion/memory", "diagnosis/", "pretrained/"),
}  # fmt: skip


@pytest.mark.parametrize(("stage", "decides"), [("training", trained.DECIDES), ("export", up_to_date.DECIDES)])
def test_every_file_of_a_stage_is_named_or_left_out_by_name(stage: str, decides: tuple[str, ...]) -> None:
    """A new file fails here until somebody says whether it decides."""
    files = {str(file.relative_to(PROJECT)) for file in (PROJECT / stage).rglob("*.py")}
    left_out = {
        name
        for name in files
        if name.endswith("__init__.py")
        or any(name.removeprefix(f"{stage}/").startswith(start) for start in UNDECIDING[stage])
    }
    assert files - left_out == {name for name in decides if name.startswith(f"{stage}/")}


def test_the_hash_is_of_paths_and_bytes(tmp_path: Path) -> None:
    """Another file in the folder changes nothing, another byte and another place do."""
    for name in ("a/x.py", "b/x.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("pass")
    before = sha256_of_code(["a/x.py"], tmp_path)
    (tmp_path / "a" / "new.py").write_text("pass")
    assert sha256_of_code(["a/x.py"], tmp_path) == before
    assert sha256_of_code(["b/x.py"], tmp_path) != before
    (tmp_path / "a" / "x.py").write_text("pass  # changed")
    assert sha256_of_code(["a/x.py"], tmp_path) != before
    with pytest.raises(FileNotFoundError):
        sha256_of_code(["a/gone.py"], tmp_path)


def test_the_commit_of_somebody_elses_repository_is_not_the_projects(tmp_path: Path) -> None:
    """A virtual environment inside a repository holds the installed packages; that commit says nothing of them."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    installed = tmp_path / ".venv" / "site-packages"
    installed.mkdir(parents=True)
    commit = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "--allow-empty", "-m", "x"]
    subprocess.run(commit, cwd=tmp_path, check=True)
    assert git_commit(installed) is None
    found = git_commit(tmp_path)
    assert found is not None
    assert len(found.rstrip("+")) == 40
