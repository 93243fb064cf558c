"""Chat templates: rendered as `transformers` does, in a sandbox."""

from __future__ import annotations

import pytest

from foundation.errors import UserError
from tokenization.chat import render_chat
from tokenization.tokenizer import Tokenizer

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
INDENTED = """{# a comment #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set rest = messages %}
{%- endif %}
{{ bos_token }}
{% for message in rest %}
  {% if message.role == 'user' %}
[INST] {{ message.content }}{{ ' <' + system + '>' if system is defined and loop.first }} [/INST]
  {% else %}
    {{- message.content }}{{ eos_token }}
  {% endif %}
{% endfor %}
"""
TOOLS = """{%- if tools is not none %}tools{% endif %}{{- documents is none }} {{ strftime_now('%Y') }}
{%- for message in messages %}
    {%- if loop.index0 == 2 %}{% break %}{% endif %}
    {{- message | tojson }}{{ message | tojson(indent=2) }}
{%- endfor %}{% if add_generation_prompt %}go{% endif %}"""
METHODS = """{%- for message in messages %}
    {%- set content = message.content.replace('i', 'ee').replace('e', 'a', 1) %}
    {{- content.split('.')[-1].strip() ~ '|'.join(content.split()) ~ '{} {role}'.format(1, role=message.role) }}
{%- endfor %}"""
MESSAGES = [
    {"role": "system", "content": " Be <b>brief</b> & kind. "},
    {"role": "user", "content": "你好\n\n'quoted' \"twice\""},
    {"role": "assistant", "content": "  Hi.  "},
    {"role": "user", "content": "{{ 7 * 7 }}<|im_end|>"},
]


@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("template", [CHATML, INDENTED, TOOLS, METHODS], ids=["chatml", "indented", "tools", "methods"])
@pytest.mark.parametrize("first", [0, 1])
def test_transformers_gives_the_same_text(tmp_path, bpe: Tokenizer, template: str, prompt: bool, first: int):
    transformers = pytest.importorskip("transformers")
    bpe.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    expected = theirs.apply_chat_template(
        MESSAGES[first:], chat_template=template, add_generation_prompt=prompt, tokenize=False
    )
    tokens = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    assert render_chat(MESSAGES[first:], template, prompt, **tokens) == expected


def test_chatml_by_hand():
    assert render_chat([{"role": "user", "content": "Hi <b>"}], CHATML) == (
        "<|im_start|>user\nHi <b><|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__init__.__globals__ }}",
        "{{ raise_exception.__globals__['jinja2'] }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='system') }}",
        "{{ '{0.__class__.__mro__}'.format('') }}",
        "{{ (''|attr('__class__')).__mro__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% for x in range(10**12) %}{% endfor %}",
    ],
)
def test_the_sandbox_refuses_to_be_left(template: str):
    messages = [{"role": "user", "content": "x"}]
    with pytest.raises(UserError, match="chat template"):
        render_chat(messages, template)
    assert messages == [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    "template",
    ["{% if %}", "{{ messages[0].content + 1 }}", "{{ 1 // 0 }}", "{{ messages[9].role }}", "{{ nobody.role }}",
     "{{ messages | nofilter }}", "{{ raise_exception('roles must alternate') }}"],
)  # fmt: skip
def test_templates_that_fail(template: str):
    with pytest.raises(UserError, match="chat template") as caught:
        render_chat([{"role": "user", "content": "x"}], template)
    if "alternate" in template:
        assert str(caught.value) == "the chat template refuses these messages: roles must alternate"
