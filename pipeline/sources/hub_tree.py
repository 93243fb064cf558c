"""The files of one revision of a hub dataset: on the hub, or in the local cache of downloaded files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.sources import files
from pipeline.sources.base import Identity
from pipeline.sources.registry import classify

_NO_DATA = ("readme", "license", "changelog", "dataset_info", "dataset_infos", "state", "dataset_dict", "metadata")


class Tree:
    """`root` within the fsspec file system `fs` holds the files; names are relative to it."""

    def __init__(self, fs: Any, root: str, name: str, revision: str | None, sha: str | None) -> None:
        self._fs, self._root = fs, root
        self._name, self._revision, self._sha = name, revision, sha
        self._infos: dict[str, dict[str, Any]] = {}
        self._downloaded: dict[str, str] = {}
        self.has_script = False

    @property
    def remote(self) -> bool:
        """Whether the files are on the hub."""
        return self._sha is not None

    @classmethod
    def online(cls, name: str, revision: str | None) -> Tree:
        """The tree on the hub, pinned to the commit that the revision names now."""
        from huggingface_hub import HfApi, HfFileSystem

        info = HfApi().dataset_info(name, revision=revision)
        assert info.sha
        tree = cls(HfFileSystem(), f"datasets/{name}@{info.sha}", name, revision, info.sha)
        tree.has_script = any(file.rfilename == f"{name.split('/')[1]}.py" for file in info.siblings or [])
        return tree

    @classmethod
    def cached(cls, name: str, revision: str | None, cache: Path | None) -> Tree | None:
        """The tree in the cache, as far as it was downloaded; None when nothing was."""
        import fsspec
        from huggingface_hub import snapshot_download

        try:
            root = snapshot_download(
                name, repo_type="dataset", revision=revision, cache_dir=cache, local_files_only=True
            )
        except Exception:  # whatever it lacks: it is not there
            return None
        return cls(fsspec.filesystem("file"), str(root), name, revision, None)

    def converted(self, branch: str) -> Tree | None:
        """The tree of the hub's own conversion; None where there is none."""
        from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError

        if not self.remote:
            return None
        try:
            return Tree.online(self._name, branch)
        except (RevisionNotFoundError, EntryNotFoundError):
            return None

    def read(self, name: str) -> bytes:
        """A file's content; empty when there is none of that name."""
        try:
            with self._fs.open(f"{self._root}/{name}", "rb") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return b""

    def match(self, patterns: list[str]) -> list[str]:
        """The files that match glob patterns, without repetition, sorted within each pattern."""
        found: dict[str, None] = {}
        for pattern in patterns:
            pattern = pattern.removeprefix("./").rstrip("/")
            infos = self._fs.glob(f"{self._root}/{pattern}", detail=True)
            if any(info["type"] == "directory" and path.endswith(f"/{pattern}") for path, info in infos.items()):
                infos = self._fs.find(f"{self._root}/{pattern}", detail=True)
            found.update(dict.fromkeys(self._add(infos)))
        return list(found)

    def data_files(self, folder: str) -> list[str]:
        """All files below `folder` ("" or "NAME/") that look like data."""
        try:
            infos = self._fs.find(f"{self._root}/{folder}".rstrip("/"), detail=True)
        except FileNotFoundError:
            return []
        return [
            name
            for name in self._add(infos)
            if classify(name) is not None
            and not any(part.startswith(".") for part in name.split("/"))
            and name.rsplit("/", 1)[-1].split(".")[0].lower() not in _NO_DATA
        ]

    def _add(self, infos: dict[str, dict[str, Any]]) -> list[str]:
        own = {path[len(self._root) + 1 :]: info for path, info in infos.items() if info["type"] != "directory"}
        self._infos.update(own)
        return sorted(own)

    def download(self, names: list[str], cache: Path | None) -> None:
        """Fetch files into the cache; what is there already, or half there, is not fetched again."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        for name in names:
            revision = self._revision if name == "README.md" else self._sha  # the first writes down what the name means
            try:
                path = hf_hub_download(self._name, name, repo_type="dataset", revision=revision, cache_dir=cache)
            except EntryNotFoundError:
                continue  # a dataset without a card
            self._downloaded[name] = str(path)

    def path(self, name: str) -> str:
        """Where to read a file."""
        if name in self._downloaded:
            return self._downloaded[name]
        return f"hf://{self._root}/{name}" if self.remote else f"{self._root}/{name}"

    def identity(self, name: str) -> Identity | None:
        """What the hub's listing says of a file; None for a local one, which is looked at when it is planned."""
        return files.remote_identity(self._infos[name]) if self.path(name).startswith("hf://") else None
