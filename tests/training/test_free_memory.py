"""What control groups leave: nested ones, both versions, pages of files that the system would give up."""

from __future__ import annotations

from pathlib import Path

from training.devices.free_memory import NO_LIMIT, _free_in_container

TWO = ("memory.max", "memory.current", "")
ONE = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")


def plant(root: Path, own: str, top: str, names: tuple[str, str, str], **groups: tuple[object, int, int, int]) -> None:
    """Files as the kernel shows them: each group's limit, usage, inactive and active pages of files."""
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/cgroup").write_text(own)
    for path, (limit, usage, inactive, active) in groups.items():
        group = root / "sys/fs/cgroup" / top / path.replace("__", "/")
        group.mkdir(parents=True, exist_ok=True)
        (group / names[0]).write_text(f"{limit}\n")
        (group / names[1]).write_text(f"{usage}\n")
        stat = f"cache 77\nanon 5\n{names[2]}inactive_file {inactive}\n{names[2]}active_file {active}\n"
        (group / "memory.stat").write_text(stat + ("inactive_file 1\n" if names[2] else ""))


def test_pages_of_files_are_not_used_up(tmp_path: Path) -> None:
    plant(tmp_path, "0::/\n", "", TWO, **{".": (1000, 900, 500, 100)})
    assert _free_in_container(tmp_path) == 100 + 500 + 50


def test_the_least_of_nested_groups_counts(tmp_path: Path) -> None:
    """A step of a job: its own group has no limit, the job's has one, the scope above it a smaller rest."""
    plant(tmp_path, "0::/scope/job/step\n", "", TWO, scope__job__step=("max", 300, 0, 0), scope__job=(900, 300, 0, 0))
    assert _free_in_container(tmp_path) == 600
    plant(tmp_path, "0::/scope/job/step\n", "", TWO, scope=(5000, 4900, 20, 20))
    assert _free_in_container(tmp_path) == 130
    plant(tmp_path, "0::/scope/job/step\n", "", TWO, scope__job__step=(310, 300, 0, 0))
    assert _free_in_container(tmp_path) == 10


def test_version_1_is_found_among_other_controllers(tmp_path: Path) -> None:
    own = "9:cpu,cpuacct:/elsewhere\n4:memory:/slurm/job\n0::/system.slice\n"
    plant(tmp_path, own, "memory", ONE, slurm__job=(1000, 990, 200, 40), slurm=(2**63 - 4096, 10**6, 0, 0))
    assert _free_in_container(tmp_path) == 10 + 200 + 20


def test_a_path_of_the_host_means_the_container_itself(tmp_path: Path) -> None:
    for own in ("4:memory:/docker/abc\n", "4:memory:/../../other\n"):
        plant(tmp_path, own, "memory", ONE, **{".": (1000, 400, 0, 0)})
        assert _free_in_container(tmp_path) == 600


def test_without_groups_or_with_a_full_one(tmp_path: Path) -> None:
    assert _free_in_container(tmp_path) == NO_LIMIT
    plant(tmp_path, "0::/\n", "", TWO, **{".": ("max", 900, 0, 0)})
    assert _free_in_container(tmp_path) == NO_LIMIT
    plant(tmp_path, "0::/\n", "", TWO, **{".": (800, 900, 0, 0)})
    assert _free_in_container(tmp_path) == 0
