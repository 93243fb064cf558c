"""The chat page in headless Chromium: a conversation is held, in English and Chinese, light and dark."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from generation.config import GenerationConfig
from generation.serving.page import ASSETS, PAGE
from generation.serving.service import Service, Work
from generation.text import TextGenerator
from tests.foundation.page.browser import BROWSER, near
from tests.foundation.page.driver import Page, driven_page
from tests.generation.serving.conftest import USUAL, Running, running

browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
TURNS = (
    "[...document.querySelectorAll('.turn')]"
    ".map((turn) => [turn.classList[1], turn.querySelector('.body').textContent])"
)
ASKED = "performance.getEntriesByType('resource').filter((entry) => entry.name.endsWith('/chat/completions')).length"
READY = "!document.getElementById('send').hidden && document.title === 'tiny'"
ATTACK = "<img src=x onerror=alert(1)><script>document.title='owned'</script> 明月🙂"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One tab for all tests; what a page keeps belongs to its server's address."""
    with driven_page(tmp_path_factory.mktemp("browser") / "profile") as found:
        yield found


def prefer(page: Page, language: str, scheme: str) -> None:
    page("Emulation.setUserAgentOverride", userAgent="test", acceptLanguage=language)
    page("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


def say(page: Page, text: str) -> None:
    page.type(text, key="Enter")
    page.until(READY)


def turns(page: Page) -> list[list[str]]:
    found: list[list[str]] = page.evaluate(TURNS)
    return found


def press(page: Page, name: str) -> None:
    page.evaluate(f"document.getElementById('{name}').click()")


@browser
def test_a_conversation(make_generator: Callable[..., TextGenerator], page: Page) -> None:
    """Two turns, each as the API gives it; markup stays text; a reload keeps them; options count."""
    generator = make_generator(max_position_embeddings=400)
    alone = make_generator(max_position_embeddings=400)
    with running(generator) as server:
        prefer(page, "en-GB", "light")
        page.open(f"{server.url}/")
        page.until(READY)
        assert page.evaluate("document.getElementById('send').textContent") == "Send"
        assert page.evaluate("document.activeElement.id") == "text"
        say(page, "the cat")
        history = [{"role": "user", "content": "the cat"}]
        history.append({"role": "assistant", "content": alone.chat(history, USUAL)})
        history.append({"role": "user", "content": ATTACK})
        say(page, ATTACK)
        expected = [*([turn["role"], turn["content"]] for turn in history), ["assistant", alone.chat(history, USUAL)]]
        assert turns(page) == expected
        assert page.evaluate("document.querySelectorAll('#talk img, #talk script').length") == 0
        assert "cut at the longest answer" in page.evaluate("document.body.innerText")
        page.open(f"{server.url}/?again")
        page.until(READY)
        assert turns(page) == expected
        press(page, "fresh")
        assert turns(page) == [] and "Say something." in page.evaluate("document.body.innerText")
        press(page, "options")
        for name, value in {"temperature": "0", "length": "5", "system": "the dog"}.items():
            page.evaluate(f"document.getElementById('{name}').focus()")
            page.type(value)
        page.evaluate("document.getElementById('text').focus()")
        say(page, "on the mat")
        asked = [{"role": "system", "content": "the dog"}, {"role": "user", "content": "on the mat"}]
        assert turns(page)[1][1] == alone.chat(asked, USUAL.replace(temperature=0, max_new_tokens=5))
        assert page.problems == []


@browser
def test_the_stop_button_and_faults(make_generator: Callable[..., TextGenerator], page: Page, tmp_path: Path) -> None:
    """Stopping frees the slot and keeps what was written; a conversation that no longer fits loses its beginning; what
    fails is said, and can be tried again."""
    generator = make_generator(endless=True, max_position_embeddings=3000)
    with running(generator, GenerationConfig(max_new_tokens=2900, temperature=0)) as server:
        prefer(page, "zh-CN", "dark")
        page.open(f"{server.url}/")
        page.until(READY)
        assert page.evaluate("document.documentElement.lang") == "zh-CN"
        page.type("the cat", key="Enter")
        page.until(f"{TURNS}.length === 2 && {TURNS}[1][1].length > 20")
        press(page, "stop")
        page.until(READY)
        server.until(lambda: server.service.thread.open == 0)
        assert "已停止" in page.evaluate("document.body.innerText")
        kept = turns(page)
        assert len(kept[1][1]) > 20
        shot = tmp_path / "dark.png"
        page.picture(shot)
        image = matplotlib.image.imread(shot)
        assert near(image, "#131518") > image[..., 0].size / 2  # the dark page
        page.evaluate("document.getElementById('length').value = '5'")
        tokens = len(generator.tokenizer.encode("the dog " * 100)) / 100
        page.type("the dog " * int(2960 / tokens), key="Enter")
        page.until(READY)
        assert "最早的消息已放不下" in page.evaluate("document.body.innerText")
    page.type("and now", key="Enter")
    page.until(f"document.body.innerText.includes({json.dumps('服务器没有响应')})")
    assert page.evaluate("document.querySelectorAll('.turn:last-child .retry').length") == 1


@browser
@pytest.mark.parametrize(
    ("messages", "flags"),
    [(400, {}), (2100, {}), (400, {"max_body_bytes": 20_000})],
    ids=["tokens", "messages", "bytes"],
)
def test_a_long_conversation_is_shortened_at_once(
    make_generator: Callable[..., TextGenerator],
    page: Page,
    monkeypatch: pytest.MonkeyPatch,
    messages: int,
    flags: dict[str, int],
) -> None:
    """Few requests find what fits, one is enough for the next turn, and much of the context is used."""
    context, read = 600, []
    prepare = Service.prepare

    async def counting(*given: Any) -> Work:
        work = await prepare(*given)
        read.append(work.prompt_tokens)
        return work

    monkeypatch.setattr(Service, "prepare", counting)
    said = [
        {"role": ("user", "assistant")[n % 2], "content": f"the cat sat {n}" + " on the mat" * 3}
        for n in range(messages)
    ]
    generator = make_generator(endless=True, max_position_embeddings=context)
    with running(generator, GenerationConfig(max_new_tokens=5, temperature=0), **flags) as server:
        prefer(page, "en", "light")
        page.open(f"{server.url}/")
        page.until(READY)
        page.evaluate(f"sessionStorage.setItem('turns', {json.dumps(json.dumps(said))})")
        page.open(f"{server.url}/?again")
        page.until(READY)
        requests = []
        for text in ("and now", "the dog"):
            page.evaluate("performance.clearResourceTimings()")
            say(page, text)
            requests.append(page.evaluate(ASKED))
        assert "The oldest messages no longer fit" in page.evaluate("document.body.innerText")
        assert len(turns(page)) == messages + 4
        page.type("the dog " * 1000, key="Enter")
        page.until("document.body.innerText.includes('This message is longer than the model can read')")
        say(page, "and now")
        for system in ("the mat " * 80, ""):
            change = "option.value = text; option.dispatchEvent(new Event('change'))"
            page.evaluate(
                f"((option, text) => {{ {change} }})(document.getElementById('system'), {json.dumps(system)})"
            )
            say(page, "so long" if system else "and again")
    assert requests[0] <= 5 and requests[1] == 1
    assert context / 2 < read[0] < read[1] < read[2] < context, "a message that cannot be sent costs no other one"
    assert context / 2 < read[4] < context, "without the system message there is room again"


@browser
def test_the_key_and_a_model_that_continues_texts(make_generator: Callable[..., TextGenerator], page: Page) -> None:
    generator = make_generator(chat_trained=False)
    with running(generator, api_key="secret-key") as server:
        prefer(page, "en", "light")
        page.open(f"{server.url}/")
        page.until("!document.getElementById('panel').hidden")
        assert "wants its API key" in page.evaluate("document.body.innerText")
        page.evaluate("document.getElementById('key').focus()")
        page.type("secret-key", key="Enter")
        page.evaluate("document.getElementById('text').focus()")
        page.until(READY)
        assert "not trained to chat" in page.evaluate("document.body.innerText")
        say(page, "the cat")
        say(page, "the dog")
        assert [text for _, text in turns(page)[1::2]] == [
            generator.generate(text, USUAL) for text in ("the cat", "the dog")
        ]


def test_the_page_names_only_its_own_files(chat_server: Running) -> None:
    """No other address stands in it, nothing is inline, and its policy allows neither."""
    status, headers, text = chat_server.ask("GET", "/")
    assert status == 200 and headers["content-type"].startswith("text/html")
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in headers["content-security-policy"]
    named = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sorted(named) == sorted(["data:,", *(f"assets/{name}" for name in ASSETS)])
    assert "<style" not in text and not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", text)
    for name in ASSETS:
        status, headers, content = chat_server.ask("GET", f"/assets/{name}")
        assert status == 200 and not re.search(r"https?://|innerHTML|insertAdjacentHTML|eval\(|@import", content), name
    assert chat_server.ask("GET", f"/assets/{PAGE}")[0] == chat_server.ask("GET", "/assets/../run.py")[0] == 404


def test_both_languages_have_all_words(chat_server: Running) -> None:
    words = chat_server.ask("GET", "/assets/words.js")[2]
    english, chinese = (set(re.findall(r"(\w+): [\"“]", block)) for block in re.split(r"\n  zh: ", words))
    assert english == chinese > {"send", "stop", "retry", "fresh"}
    everything = "".join(chat_server.ask("GET", path)[2] for path in ("/", "/assets/chat.js"))
    used = set(re.findall(r'data-word="(\w+)"', everything)) | set(re.findall(r'say\("(\w+)"\)', everything))
    assert used <= english
