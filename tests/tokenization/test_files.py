"""Where tokenizers come from: directories, tokenizer.json, vocab.txt, the hub."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from tokenization.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
VOCABULARY = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b", "the", "é", "e", "。", "明"]


def write_vocabulary(place: Path, tokens: list[str] = VOCABULARY, config: Any = None) -> Path:
    place.mkdir(exist_ok=True)
    (place / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    if config is not None:
        (place / "tokenizer_config.json").write_text(json.dumps(config))
    return place


def real_texts(realdata: Path) -> list[str]:
    texts: list[str] = []
    for name, count in (("imdb/test.jsonl.gz", 1200), ("zh_poetry/poems.jsonl.gz", 400)):
        with gzip.open(realdata / name, "rt", encoding="utf-8") as file:
            texts += [json.loads(line)["text"] for line in islice(file, count)]
    with (realdata / "chat" / "instructions_zh.jsonl").open(encoding="utf-8") as file:
        texts += [message["content"] for line in islice(file, 200) for message in json.loads(line)["messages"][:2]]
    return texts


@pytest.mark.realdata
def test_bert_s_vocabulary_is_bert_s_tokenizer(realdata: Path, tmp_path: Path):
    """2,000 English and Chinese texts, `transformers`' own BertTokenizer, and our files read by `transformers`."""
    transformers = pytest.importorskip("transformers")
    place = realdata / "bert-base-uncased"
    ours = Tokenizer.load(place / "vocab.txt")
    assert ours.fingerprint == Tokenizer.load(place).fingerprint and ours.vocab_size == 30522
    assert ours.roles.present() == {"pad": 0, "unk": 100, "cls": 101, "sep": 102, "mask": 103}
    theirs = transformers.BertTokenizer.from_pretrained(str(place))
    texts = real_texts(realdata)
    assert len(texts) == 2000
    expected = theirs(texts, add_special_tokens=False, truncation=False)["input_ids"]
    assert [ids.tolist() for ids in ours.encode_batch(texts)] == expected
    ours.save(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert again(texts[:50])["input_ids"] == theirs(texts[:50])["input_ids"]  # [CLS] and [SEP] too
    assert again.decode(again(texts[0])["input_ids"]) == theirs.decode(theirs(texts[0])["input_ids"])


def test_a_vocabulary_by_hand(tmp_path: Path):
    place = write_vocabulary(tmp_path / "bert")
    tokenizer = Tokenizer.load(place)
    assert tokenizer.encode("AB the É明。zz [MASK]") == [6, 7, 8, 10, 12, 11, 2, 2, 2, 2]
    assert set(tokenizer.files()) == {"tokenizer.json", "tokenizer_config.json"}
    assert tokenizer.config["do_lower_case"] is True and tokenizer.roles.unk == 2


@pytest.mark.parametrize(
    ("tokens", "config", "lowered"),
    [
        ([*VOCABULARY, "The"], None, False),
        ([*VOCABULARY, "The"], {"do_lower_case": True}, True),
        (VOCABULARY, {"do_lower_case": False}, False),
        (VOCABULARY, {"model_max_length": 5}, True),
    ],
)
def test_capitals_by_configuration_or_vocabulary(tmp_path: Path, tokens: list[str], config: Any, lowered: bool):
    tokenizer = Tokenizer.load(write_vocabulary(tmp_path / "bert", tokens, config))
    assert (tokenizer.encode("THE") == tokenizer.encode("the")) is lowered
    assert tokenizer.config["do_lower_case"] is lowered


def test_a_tokenizer_json_comes_before_a_vocabulary_unless_that_is_named(tmp_path: Path):
    Tokenizer.load(write_vocabulary(tmp_path / "one")).save(tmp_path / "two")
    write_vocabulary(tmp_path / "two", [*VOCABULARY, "more"])
    assert Tokenizer.load(tmp_path / "two").vocab_size == len(VOCABULARY)
    assert Tokenizer.load(tmp_path / "two" / "vocab.txt").vocab_size == len(VOCABULARY) + 1


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\xff\xfe", "not a vocabulary in UTF-8"),
        (b"[UNK]\na\na\n", "the token 'a' occurs twice"),
        (b"a\nb\n", r"no line is \[UNK\]"),
        (b"", r"no line is \[UNK\]"),
    ],
)
def test_vocabularies_that_are_none(tmp_path: Path, data: bytes, what: str):
    (tmp_path / "vocab.txt").write_bytes(data)
    with pytest.raises(UserError, match=what) as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path / "vocab.txt") in str(caught.value)


# the hub


class Hub(http.server.BaseHTTPRequestHandler):
    """What the Hugging Face hub answers for one repository: its listing, and its files by name."""

    files: dict[str, bytes]
    asked: list[str]
    commit = "c" * 40

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        self.asked.append(path)
        data, kind = b'{"error": "Repository not found"}', "application/json"
        status, headers = 404, {"X-Error-Code": "RepoNotFound"}
        if path.startswith("/api/models/someone/small/"):
            siblings = [{"rfilename": name} for name in self.files]
            answer: Any = {"id": "someone/small", "sha": self.commit, "siblings": siblings}
            status, headers = 200, {}
            if "/tree/" in path:
                answer = [{"type": "file", "path": name, "size": len(d), "oid": "0"} for name, d in self.files.items()]
            data = json.dumps(answer).encode()
        elif path.startswith(f"/someone/small/resolve/{self.commit}/"):
            data, kind, status = self.files[path.rsplit("/", 1)[1]], "application/octet-stream", 200
            headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": self.commit}
        self.send_response(status)
        for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Address of a local hub with someone/small, and what it was asked for."""
    place = write_vocabulary(tmp_path / "repository")
    Hub.files = {"vocab.txt": (place / "vocab.txt").read_bytes(), "config.json": b"{}", "model.safetensors": b"x" * 99}
    Hub.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Hub.asked
    server.shutdown()
    server.server_close()
    thread.join()


def load_in_a_process(name: str, cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    script = (
        "import sys\nfrom foundation.errors import UserError\nfrom tokenization.tokenizer import Tokenizer\n"
        "try: print(Tokenizer.load(sys.argv[1]).fingerprint)\nexcept UserError as error: sys.exit(str(error))"
    )
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0"}
    settings |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(
        [sys.executable, "-c", script, name], env={**settings, **environment}, cwd=cache.parent,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_hub_repository_is_loaded_and_only_its_tokenizer_is_fetched(tmp_path: Path, hub: tuple[str, list[str]]):
    address, asked = hub
    expected = Tokenizer.load(tmp_path / "repository").fingerprint
    for name in ("someone/small", "hf://someone/small"):
        result = load_in_a_process(name, tmp_path / "cache", HF_ENDPOINT=address)
        assert result.stdout.strip() == expected, result.stderr
    assert any(path.endswith("vocab.txt") for path in asked)
    assert not any("safetensors" in path or path.endswith("config.json") for path in asked)
    offline = load_in_a_process("someone/small", tmp_path / "cache", HF_ENDPOINT=address, HF_HUB_OFFLINE="1")
    assert offline.stdout.strip() == expected, offline.stderr


def test_hub_errors_say_what_to_do(tmp_path: Path, hub: tuple[str, list[str]]):
    cache = tmp_path / "cache"
    missing = load_in_a_process("someone/else", cache, HF_ENDPOINT=hub[0])
    assert (
        missing.returncode == 1 and "no such path here, and as a hub repository: the hub has no such" in missing.stderr
    )
    closed = load_in_a_process("hf://someone/small", cache, HF_ENDPOINT="http://127.0.0.1:9")
    assert "the Hugging Face hub cannot be reached" in closed.stderr and "Traceback" not in closed.stderr
    offline = load_in_a_process("someone/small", cache, HF_HUB_OFFLINE="1")
    assert "no such path here" in offline.stderr and "HF_ENDPOINT" in offline.stderr


def test_a_local_directory_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone").mkdir()
    write_vocabulary(tmp_path / "someone" / "small")
    assert Tokenizer.load("someone/small").vocab_size == len(VOCABULARY)
    with pytest.raises(UserError, match="hub"):
        Tokenizer.load("hf://someone/small")


def test_paths_that_look_like_repositories_are_paths(tmp_path: Path):
    for path in (tmp_path / "absent", Path("absent/tokenizer"), "a/b/c", "./absent/x", "absent"):
        with pytest.raises(UserError, match=r"no tokenizer\.json or vocab\.txt there"):
            Tokenizer.load(path)


def test_a_model_s_own_vocabulary_file_serves_too(tmp_path: Path) -> None:
    place = write_vocabulary(tmp_path / "bert", config={"do_lower_case": False})
    files = {file.name: file.read_bytes() for file in place.iterdir()}
    carried = Tokenizer.from_files(files, "model")
    assert carried.fingerprint == Tokenizer.load(place).fingerprint and "vocab.txt" not in carried.files()
    assert carried.roles == Tokenizer.load(place).roles
