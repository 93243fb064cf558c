"""What a model card says of using a model: code that runs as it stands, and what not to expect."""

from __future__ import annotations

from training.batching.datasets import TrainingData

HERE = "path/to/this/directory"
_DECODER = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{here}")
tokenizer = AutoTokenizer.from_pretrained("{here}")
{prompt}
output = model.generate(**inputs, max_new_tokens=50)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
```"""
_CONTINUED = 'inputs = tokenizer("{opening}Once upon a time", return_tensors="pt", return_token_type_ids=False)'
_CHAT = """messages = [{"role": "user", "content": "Hello!"}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)"""
_PIPELINE = """```python
from transformers import pipeline

ask = pipeline("{task}", "{here}")
print(ask("{text}"))
```"""


def usage(task: str, data: TrainingData, chat: bool) -> str:
    """A piece of Python with `transformers`, and the command of MateConv."""
    roles, name = data.tokenizer.roles, data.tokenizer.id_to_token
    if task == "classify":
        code = _PIPELINE.format(task="text-classification", here=HERE, text="A text to judge")
        command = '--classify "A text to judge"'
    elif task in ("mlm", "mlm_nsp"):
        mask = name(roles.mask) if roles.mask is not None else "[MASK]"
        code = _PIPELINE.format(task="fill-mask", here=HERE, text=f"A word is {mask} here.")
        command = '--fill_mask "A word is [MASK] here."'
    else:
        manifest = data.train.manifest
        terminator = manifest.terminator if manifest else []
        opening = "".join(name(token) or "" for token in terminator)
        prompt = _CHAT if chat else _CONTINUED.format(opening=opening)
        code = _DECODER.format(here=HERE, prompt=prompt)
        if opening and not chat:
            code += f"\n\nIn training a text began behind `{opening}`, so a prompt does, too."
        command = "--interactive" if chat else '--prompt "Once upon a time"'
    return f"{code}\n\nWith MateConv: `python inference.py --model_path {HERE} {command}`."


def limits(task: str, chat: bool) -> str:
    """What such a model is not."""
    common = "What it learned is what its data say, mistakes and prejudices included, and nothing newer than they are."
    if task == "classify":
        own = "It knows its own classes only, and is as good on texts of other kinds as somebody has measured."
    elif task in ("mlm", "mlm_nsp"):
        own = "It guesses masked words and makes vectors of texts; it is meant to be fine-tuned."
    elif chat:
        own = "It answers in the form it was shown; it makes up facts, and nobody has checked its answers for safety."
    else:
        own = "It continues texts; it follows no instructions, and makes up facts."
    return f"{own} {common}"
