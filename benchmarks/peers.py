"""Other pipelines at the same work: read JSONL, tokenize with the same tokenizer, write tokens. One process each.

    python -m benchmarks.peers datatrove CORPUS_DIRECTORY TOKENIZER_JSON OUTPUT_DIRECTORY WORKERS

Started as their documentation says. datatrove spreads its tasks over files, so it is given one file a worker.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def datatrove(corpus: str, tokenizer: str, output: str, workers: int) -> None:
    """JsonlReader and DocumentTokenizer under the local executor (github.com/huggingface/datatrove, README). Documents
    are not shuffled, which would write everything twice."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    config = Path(tokenizer).with_name("tokenizer_config.json")
    end = json.loads(config.read_text()).get("eos_token") if config.exists() else None
    LocalPipelineExecutor(
        pipeline=[
            JsonlReader(corpus, glob_pattern="*.jsonl"),
            DocumentTokenizer(f"{output}/tokens", tokenizer, eos_token=end, shuffle_documents=False),
        ],
        tasks=workers,
        workers=workers,
        logging_dir=f"{output}/logs",
    ).run()


PEERS = {"datatrove": datatrove}


if __name__ == "__main__":
    name, corpus_directory, tokenizer_json, output_directory, worker_count = sys.argv[1:]
    PEERS[name](corpus_directory, tokenizer_json, output_directory, int(worker_count))
