from __future__ import annotations

from pathlib import Path

from search.folders import new_folder


def test_two_runs_of_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    folders = {new_folder(tmp_path, "toy", smoke=True) for _ in range(5)}
    assert len(folders) == 5
    assert all(folder.parent == tmp_path / "toy" and "-smoke" in folder.name for folder in folders)


def test_the_newest_run_has_the_last_name_though_the_clock_was_set_back(tmp_path: Path) -> None:
    (tmp_path / "toy" / "29990101-000000-smoke").mkdir(parents=True)
    (tmp_path / "toy" / "notes").mkdir()
    folders = [new_folder(tmp_path, "toy", smoke=smoke) for smoke in (True, False)]
    assert [folder.name for folder in folders] == ["29990101-000001-smoke", "29990101-000002"]
