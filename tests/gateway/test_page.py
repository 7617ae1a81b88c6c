"""The chat page in a browser."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import threading
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple

import pytest

from anyllm.gateway import Config, Gateway, GatewayServer, hash_of
from anyllm.testing import Cut, Reply, Stall, chat_events, serve

pytestmark = [pytest.mark.once, pytest.mark.browser]

#: Seconds until a test fails instead of hanging.
TIMEOUT = 60
#: Chromium's own console messages about responses that a test is about.
FAILED = "Failed to load resource"
KEY = "a-key-of-the-gateway"
#: Keys, as WebDriver names them.
TAB, ENTER, SHIFT, ESCAPE, ARROW_DOWN = "\ue004", "\ue007", "\ue008", "\ue00c", "\ue015"


class Raw(Gateway):
    """A gateway that sends a test's bytes, which a real one never sends."""

    def __init__(self, config: Config, pieces: Iterable[bytes]) -> None:
        super().__init__(config)
        self._pieces = pieces

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/v1/chat/completions":
            return super().__call__(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return iter(self._pieces)


def delta(finish_reason: Optional[str] = None, **fields: Any) -> Dict[str, Any]:
    choice = {"index": 0, "delta": fields, "finish_reason": finish_reason}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def held(pieces: List[str], **more: Any) -> Tuple[Reply, threading.Event]:
    """An answer that stops after its first piece, and the event that lets it go on."""
    first, piece, *others = chat_events(pieces, **more)
    rest = threading.Event()
    return Reply.sse([first, piece, Stall(rest), *others]), rest


class Browser:
    """The page in Chromium, for one test."""

    def __init__(self, driver: Any, servers: contextlib.ExitStack) -> None:
        self.driver = driver
        self.servers = servers
        self.allowed: Tuple[str, ...] = ()  # allowed console messages

    def serve(self, *replies: Any, pieces: Optional[List[bytes]] = None, **config: Any) -> None:
        """Start a gateway with the model "fast", which answers with *replies*, texts or of `serve`; or with bytes."""
        script = [Reply.sse(chat_events(reply)) if isinstance(reply, str) else reply for reply in replies]
        self.upstream = self.servers.enter_context(serve(*script))
        models = {"fast": {"model": "compatible/m", "base_url": self.upstream.url}, **config.pop("models", {})}
        settings = Config(server={"port": 0, "list_providers": False}, models=models, **config)
        self.gateway: Any = Gateway(settings) if pieces is None else Raw(settings, pieces)
        self.url = self.servers.enter_context(GatewayServer(self.gateway)).url

    def visit(self, *replies: Any, **config: Any) -> None:
        """Start a gateway, and open its page."""
        self.serve(*replies, **config)
        self.open()

    def open(self) -> None:
        self.driver.get(f"{self.url}/")
        self.until(lambda: self.js("return document.activeElement.id") in ("input", "key"))

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def module(self, body: str, *arguments: Any) -> Any:
        """The result of a function that gets the page's module and *arguments*."""
        script = f"""
            const given = [...arguments];
            const done = given.pop();
            const run = (page) => (function (page, given) {{ {body} }})(page, given);
            const parts = ["/page.js", "/events.js", "/markdown.js"].map((name) => import(name));
            const all = Promise.all(parts).then((loaded) => Object.assign({{}}, ...loaded));
            all.then(run).then((value) => done([value, ""]), (error) => done([null, `${{error}}`]));
        """
        value, error = self.driver.execute_async_script(script, *arguments)
        assert error == ""
        return value

    def cdp(self, command: str, **settings: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, settings)

    def until(self, condition: Callable[[], Any]) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
        from selenium.webdriver.support.wait import WebDriverWait

        wait = WebDriverWait(self.driver, TIMEOUT, 0.02, [StaleElementReferenceException])
        try:
            return wait.until(lambda _: condition())
        except TimeoutException:
            text = self.js("return document.body.innerText")
            raise AssertionError(f"it did not happen; the page says: {text}") from None

    def all(self, css: str) -> List[Any]:
        return list(self.driver.find_elements("css selector", css))

    def one(self, css: str) -> Any:
        return self.driver.find_element("css selector", css)

    def click(self, css: str) -> None:
        self.one(css).click()

    def text(self, css: str) -> str:
        """The visible text of all elements that match the selector."""
        return "\n".join(found.text for found in self.all(css))

    def value(self, css: str) -> str:
        return str(self.one(css).get_attribute("value"))

    def shows(self, css: str, text: str) -> None:
        self.until(lambda: text in self.text(css))

    def state(self) -> Optional[str]:
        """That of the last answer."""
        return self.js("return document.querySelector('.message:last-child')?.dataset.state")

    def ends(self, state: str = "done") -> None:
        self.until(lambda: self.state() == state)

    def actions(self) -> Any:
        from selenium.webdriver import ActionChains

        return ActionChains(self.driver)

    def keys(self, *keys: str) -> None:
        """Type keys into the focused element."""
        self.actions().send_keys(*keys).perform()

    def with_shift(self, key: str) -> None:
        self.actions().key_down(SHIFT).send_keys(key).key_up(SHIFT).perform()

    def ask(self, text: str) -> None:
        self.until(lambda: self.js("return document.getElementById('model').value"))
        self.one("#input").send_keys(text, ENTER)

    def talk(self, text: str, state: str = "done") -> None:
        """Ask, and wait for the end of the answer."""
        self.ask(text)
        self.ends(state)

    def again(self) -> None:
        self.click(".again-now")
        self.ends()

    def request_body(self) -> Any:
        """The body of the last request that the model got."""
        return self.upstream.requests[-1].json()

    def focus(self) -> str:
        return str(self.js("const at = document.activeElement; return at.id || at.className || at.tagName"))

    def complaints(self) -> List[str]:
        entries = self.driver.get_log("browser")
        return [
            entry["message"]
            for entry in entries
            if entry["level"] == "SEVERE" and not any(allowed in entry["message"] for allowed in self.allowed)
        ]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    reason = "needs selenium, chromium and its driver"
    webdriver = pytest.importorskip("selenium.webdriver", reason=reason)
    from selenium.webdriver.chrome.service import Service

    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,800"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(driver))
    running.set_script_timeout(TIMEOUT)
    yield running
    running.quit()


@pytest.fixture
def at(chromium: Any) -> Iterator[Browser]:
    """The browser, whose console must be without complaints in the end."""
    pytest.importorskip("waitress")
    chromium.get_log("browser")
    with contextlib.ExitStack() as servers:
        opened = Browser(chromium, servers)
        yield opened
    complaints = opened.complaints()
    opened.cdp("Emulation.clearDeviceMetricsOverride")
    opened.cdp("Emulation.setEmulatedMedia", media="", features=[])
    chromium.get("about:blank")
    assert complaints == []


# -- an answer ---------------------------------------------------------------------------------------------------------


def test_an_answer_is_shown_as_it_comes(at: Browser) -> None:
    reply, rest = held(["Hello **wor", "ld** and more."])
    at.visit(reply)
    at.ask("Hi")
    at.shows(".answer .text strong", "wor")
    assert at.text(".answer .text") == "Hello wor"
    assert at.state() == "running"
    assert at.text(".user") == "Hi"
    assert not rest.is_set()
    rest.set()
    at.ends()
    assert at.text(".answer .text") == "Hello world and more."
    assert at.text(".answer .text strong") == "world"
    assert not at.one("#stop").is_displayed()
    assert at.request_body()["messages"] == [{"role": "user", "content": "Hi"}]
    assert at.request_body()["stream_options"] == {"include_usage": True}


def test_an_answer_shows_its_metrics(at: Browser) -> None:
    usage = {
        "prompt_tokens": 1234, "completion_tokens": 12, "total_tokens": 1246, "cost": 0.00123,
        "completion_tokens_details": {"reasoning_tokens": 5}, "prompt_tokens_details": {"cached_tokens": 1000},
    }  # fmt: skip
    reply, rest = held(["one ", "two"], usage=usage)
    at.visit(reply)
    at.ask("Hi")
    at.shows(".answer .text", "one")
    rest.set()
    at.ends()
    figures = at.text(".answer .figures")
    assert "1,234 in (1,000 cached) · 12 out (5 reasoning)" in figures
    assert "$0.0012" in figures
    assert re.search(r"· [\d.,]+ tokens/s · first after [\d.]+ s ·", figures)


def test_metrics_are_those_that_were_measured(at: Browser) -> None:
    at_once = {"usage": {"prompt_tokens": 3, "completion_tokens": 4}, "first": 12_345}
    usage = {"prompt_tokens": 1, "completion_tokens": 50, "cost": 0}
    at.visit()
    figures = at.module(
        "return given.map(page.figures)",
        {"usage": usage, "first": 420, "took": 2000},
        at_once,
        {"usage": {"prompt_tokens": 1, "completion_tokens": 5, "cost": 12.345}, "first": 2500, "took": 1000},
        {},
    )
    assert figures == [
        "1 in · 50 out · 25 tokens/s · first after 0.42 s · $0",
        "3 in · 4 out · first after 12 s",
        "1 in · 5 out · 5.0 tokens/s · first after 2.5 s · $12.35",
        "",
    ]


@pytest.mark.parametrize(
    "thoughts",
    [
        [delta(reasoning_content="First "), delta(reasoning_content="I think")],
        [delta(reasoning="First "), delta(reasoning="I think", reasoning_details=[{"text": "I think"}])],
        [delta(reasoning_details=[{"type": "reasoning.text", "text": text}]) for text in ("First ", "I think")],
    ],
    ids=["reasoning_content", "reasoning", "reasoning_details"],
)
def test_reasoning_is_folded_and_stays_as_the_user_has_it(at: Browser, thoughts: Any) -> None:
    more, rest = threading.Event(), threading.Event()
    events = [thoughts[0], Stall(more), thoughts[1], *chat_events("The answer")[1:2], Stall(rest)]
    at.visit(Reply.sse([*events, *chat_events("The answer")[2:]]))
    at.ask("Hi")
    at.shows(".reasoning summary", "Thinking…")
    assert not at.one(".thoughts").is_displayed()
    at.click(".reasoning summary")
    at.shows(".thoughts", "First")
    more.set()
    at.shows(".thoughts", "First I think")
    at.shows(".reasoning summary", "Thought for")
    rest.set()
    at.ends()
    assert at.text(".thoughts") == "First I think"
    assert at.text(".answer .text") == "The answer"
    assert re.fullmatch(r"Thought for (a moment|[\d.]+ s)", at.text(".reasoning summary"))


def test_a_tool_call_is_shown_as_it_comes_and_in_lines_when_whole(at: Browser) -> None:
    rest = threading.Event()
    call = {"index": 0, "id": "t", "type": "function", "function": {"name": "weather", "arguments": '{"city":"P'}}
    more = {"index": 0, "function": {"arguments": 'aris","id":12345678901234567890,"in":[],"at":[1]}'}}
    at.visit(Reply.sse([delta(tool_calls=[call]), Stall(rest), delta(tool_calls=[more]), delta("tool_calls")]))
    at.ask("Hi")
    at.shows(".call .arguments", '{"city":"P')
    assert at.text(".call .name") == "weather"
    rest.set()
    at.ends()
    lines = '{\n  "city": "Paris",\n  "id": 12345678901234567890,\n  "in": [],\n  "at": [\n    1\n  ]\n}'
    assert at.js("return document.querySelector('.call .arguments').textContent") == lines
    assert not at.one(".outcome").is_displayed()


@pytest.mark.parametrize("by", ["button", "escape"])
def test_stop_ends_the_request_up_to_the_model(at: Browser, by: str) -> None:
    events = [*chat_events("A partial answer")[:3], Stall()]
    at.visit(Reply.sse(events), "Whole")
    at.ask("Hi")
    at.shows(".answer .text", "A partial")
    assert at.upstream.open_connections == 1
    assert at.gateway.running == 1
    if by == "button":
        at.click("#stop")
    else:
        at.keys(ESCAPE)
    assert at.upstream.wait_closed()
    at.ends("stopped")
    assert at.text(".answer .text") == "A partial"
    assert at.text(".outcome-text") == "Stopped"
    assert at.focus() == "input"
    at.until(lambda: at.gateway.running == 0)
    at.again()
    assert at.text(".answer .text") == "Whole"


HALF = chat_events("Half of it")[:3]
OVER = {"error": {"message": "the model fell <b>over</b>", "code": 500}}
REFUSED = {"error": {"message": "too long a prompt", "type": "invalid_request_error"}}


@pytest.mark.parametrize(
    ("reply", "text", "words"),
    [
        (Reply.sse([*HALF, OVER], done=False), "Half of", "the model fell <b>over</b>"),
        (Reply.error(400, REFUSED), "", "too long a prompt"),
        (Reply.sse([*HALF, Cut("eof")]), "Half of", ""),
    ],
    ids=["in the middle", "before the answer", "cut"],
)
def test_an_error_keeps_the_text_and_can_be_retried(at: Browser, reply: Reply, text: str, words: str) -> None:
    at.allowed = () if text else (FAILED,)
    at.visit(reply, "All of it")
    at.talk("Hi", "error")
    assert at.text(".answer .text") == text
    assert words in at.text(".outcome-text")
    at.again()
    assert at.text(".answer .text") == "All of it"
    assert len(at.all(".answer")) == 1
    assert at.request_body()["messages"] == [{"role": "user", "content": "Hi"}]
    assert at.focus() == "input"


def test_a_stream_without_its_end_is_shown_as_cut(at: Browser) -> None:
    """Even if the response itself ends properly, after a finish reason."""
    events = [delta(content="All of"), delta("stop", content=" it")]
    at.visit(pieces=[b"data: %b\n\n" % json.dumps(event).encode() for event in events])
    at.talk("Hi", "cut")
    assert at.text(".answer .text") == "All of it"
    assert at.text(".outcome-text").startswith("Cut")
    at.driver.refresh()
    at.until(lambda: at.state() == "cut")


def test_a_gateway_that_goes_away_cuts_the_answer(at: Browser) -> None:
    at.allowed = ("net::ERR",)
    at.visit(Reply.sse([*HALF, Stall()]))
    at.ask("Hi")
    at.shows(".answer .text", "Half of")
    at.servers.close()
    at.ends("cut")
    assert at.text(".answer .text") == "Half of"
    at.click(".again-now")
    at.ends("error")
    assert "cannot be reached" in at.text(".outcome-text")


@pytest.mark.parametrize(("reason", "words"), [("length", "limit of tokens"), ("content_filter", "filter")])
def test_an_answer_that_was_limited_says_so(at: Browser, reason: str, words: str) -> None:
    at.visit(Reply.sse(chat_events("Some", finish_reason=reason)))
    at.talk("Hi")
    assert words in at.text(".outcome-text")


def test_events_are_read_however_they_are_cut(at: Browser) -> None:
    """Byte by byte through real sockets, with comments, each kind of line end, and characters of several bytes."""
    event = json.dumps(delta(content="añ→😀"), ensure_ascii=False)
    stream = f": hello\r\n\r\nevent: x\r\n\r\ndata\r\n\r\nid: 1\r\ndata: {event}\r\n\r\n"
    stream += f":\n\ndata:{event}\n\ndata: {event}\r\r: \rdata: [DONE]\n\n"
    at.visit(pieces=[bytes([byte]) for byte in stream.encode()])
    at.talk("Hi")
    assert at.text(".answer .text") == "añ→😀añ→😀añ→😀"


def test_event_data_does_not_depend_on_where_the_text_is_cut(at: Browser) -> None:
    text = "data: a\r\n\r\ndata:b\r\ndata: c\r\rdata\n\n: no\n\ndata:  d\r\n\n\r\nid: 1\ndata: e\n\ndata: never"
    expected = ["a", "b\nc", "", " d", "e"]
    cuts = [[text[:one], text[one:other], text[other:]] for one, other in itertools.combinations(range(len(text)), 2)]
    read = """
        return given[0].map((cut) => {
          const events = new page.EventData();
          return cut.flatMap((piece) => events.feed(piece));
        });
    """
    at.visit()
    assert all(found == expected for found in at.module(read, [*cuts, list(text)]))


def test_characters_are_read_however_their_bytes_are_cut(at: Browser) -> None:
    read = """
        const bytes = new TextEncoder().encode("data: añ→😀\\r\\n\\r\\ndata: [DONE]\\n\\n");
        const body = new ReadableStream({
          start(to) {
            for (const byte of bytes) to.enqueue(new Uint8Array([byte]));
            to.close();
          },
        });
        return (async () => {
          const found = [];
          for await (const data of page.eventsOf(body)) found.push(data);
          return found;
        })();
    """
    at.visit()
    assert at.module(read) == ["añ→😀", "[DONE]"]


# -- Markdown ----------------------------------------------------------------------------------------------------------

#: What a model writes, and the markup that it is: {language:code} for a block of code, [a|b/c|d] for a table, and
#: (text→address) for a link.
MARKDOWN = {
    "One line\nand another.\n\nA second paragraph.": "<p>One line\nand another.</p><p>A second paragraph.</p>",
    "**bold** *it* ***both*** __b__ _i_ ~~gone~~": "<p><strong>bold</strong> <em>it</em> "
    "<em><strong>both</strong></em> <strong>b</strong> <em>i</em> <del>gone</del></p>",
    "**a *b* c**": "<p><strong>a <em>b</em> c</strong></p>",
    "snake_case_name 2 * 3 * 4 a*": "<p>snake_case_name 2 * 3 * 4 a*</p>",
    "**中文。**后": "<p><strong>中文。</strong>后</p>",
    "`a*b*` ``x ` y`` `<i>`": "<p><code>a*b*</code> <code>x ` y</code> <code>&lt;i&gt;</code></p>",
    r"\*no\* \# \(x\)": r"<p>*no* # \(x\)</p>",
    "# One\n## Two ##\n###### Six": "<h2>One</h2><h3>Two</h3><h6>Six</h6>",
    "#no": "<p>#no</p>",
    "- a\n- b\n  - c\n    more\n- d": "<ul><li>a</li><li>b<ul><li>c\nmore</li></ul></li><li>d</li></ul>",
    "3. a\n4. b": '<ol start="3"><li>a</li><li>b</li></ol>',
    "1. **A**:\n- x\n- y\n2. **B**": "<ol><li><strong>A</strong>:</li></ol><ul><li>x</li><li>y</li></ul>"
    '<ol start="2"><li><strong>B</strong></li></ol>',
    "- a\n\n- b": "<ul><li><p>a</p></li><li><p>b</p></li></ul>",
    "- [ ] do\n- [x] done": "<ul><li>☐ do</li><li>☑ done</li></ul>",
    "> a\n> b\n\nc": "<blockquote><p>a\nb</p></blockquote><p>c</p>",
    "a\n\n---\n\nb": "<p>a</p><hr><p>b</p>",
    "```py\nx = 1\n\n<b>\n```\nafter": "{py:x = 1\n\n<b>\n}<p>after</p>",
    "~~~\n```\n~~~": "{:```\n}",
    "````\n```\n````": "{:```\n}",
    "```js\nopen": "{js:open}",
    "1. a\n   ```sh\n   ls\n   ```\n2. b": "<ol><li>a{sh:ls\n}</li><li>b</li></ol>",
    "| a | b |\n|:-:|--:|\n| 1 | `\\|` |\n\nx": "[a|b/1|<code>|</code>]<p>x</p>",
    '[a *b*](https://x.org/a_(b) "t")': "<p>(a <em>b</em>→https://x.org/a_(b))</p>",
    "see https://x.org/a_b. (http://y.org)": "<p>see (https://x.org/a_b→https://x.org/a_b). "
    "((http://y.org→http://y.org/))</p>",
    "<https://x.org> a<br>b": "<p>(https://x.org→https://x.org/) a<br>b</p>",
    "[x](javascript:alert(1)) [y](data:text/html,z) [z](//e.org) [w](/v1)": "<p>[x](javascript:alert(1)) "
    "[y](data:text/html,z) [z](//e.org) [w](/v1)</p>",
    "![pic](https://x.org/p.png)": "<p>(pic→https://x.org/p.png)</p>",
    "<script>alert(1)</script> <img src=x onerror=y>": "<p>&lt;script&gt;alert(1)&lt;/script&gt; "
    "&lt;img src=x onerror=y&gt;</p>",
    "a\r\n\r\n- b\r\n- c": "<p>a</p><ul><li>b</li><li>c</li></ul>",
    "*" * 50 + "a": "<p>" + "*" * 50 + "a</p>",
    "unclosed **bold `code [link](htt": "<p>unclosed **bold `code [link](htt</p>",
}

#: Renders each source in pieces of so many characters, and gives its markup, shortened.
RENDER = r"""
    const [sources, size] = given;
    return sources.map((source) => {
      const root = document.createElement("div");
      const markdown = new page.Markdown(root);
      for (let at = 0; at < source.length; at += size) {
        markdown.append(source.slice(at, at + size));
        if (size < source.length) markdown.render(true);
      }
      markdown.render(false);
      for (const code of root.querySelectorAll(".code")) {
        code.replaceWith(`{${code.querySelector(".language").textContent}:${code.querySelector("code").textContent}}`);
      }
      for (const link of root.querySelectorAll("a")) {
        if (link.target !== "_blank" || !link.rel.includes("noopener")) throw new Error("an open link");
        link.replaceWith("(", ...link.childNodes, `→${link.href})`);
      }
      const plain = (html) => html.replaceAll(/<(t[hd])[^>]*>(.*?)<\/\1>/gs, "$2|");
      for (const table of root.querySelectorAll(".table")) {
        const rows = [...table.querySelectorAll("tr")];
        table.replaceWith(document.createRange().createContextualFragment(
          "[" + rows.map((row) => [...row.cells].map((cell) => cell.innerHTML).join("|")).join("/") + "]"));
      }
      return root.innerHTML;
    });
"""


def unescaped_code(html: str) -> str:
    """The markup with the text of its blocks of code as the model wrote it."""
    return re.sub(
        r"\{(\w*):(.*?)\}", lambda found: found[0].replace("&lt;", "<").replace("&gt;", ">"), html, flags=re.S
    )


def test_markdown_is_rendered(at: Browser) -> None:
    at.visit()
    found = at.module(RENDER, list(MARKDOWN), 10**6)
    assert {source: unescaped_code(html) for source, html in zip(MARKDOWN, found)} == MARKDOWN


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_markdown_in_pieces_becomes_the_same(at: Browser, size: int) -> None:
    sources = [*MARKDOWN, "\n\n".join(MARKDOWN), "\n".join(reversed(list(MARKDOWN)))]
    at.visit()
    whole = at.module(RENDER, sources, 10**6)
    pieces = at.module(RENDER, sources, size)
    for source, expected, found in zip(sources, whole, pieces):
        assert found == expected, source


def test_half_written_marks_are_never_shown(at: Browser) -> None:
    """No star, backtick or address shows for a moment, to vanish when the rest has come."""
    source = (
        "A **bold** and *it* and `code` [link](https://x.org/y).\n\n# Head\n\n- item\n\n```py\nx\n```\n\n| a | b |\n"
    )
    source += "|---|---|\n| c | d |\n"
    script = """
        const root = document.createElement("div");
        const markdown = new page.Markdown(root);
        return [...given[0]].map((char) => {
          markdown.append(char);
          markdown.render(true);
          return root.textContent;
        });
    """
    at.visit()
    texts = at.module(script, source)
    assert len(texts) == len(source)
    assert " ".join(texts[-1].split()) == "A bold and it and code link.Headitem pyCopy x abcd"
    assert [text for text in texts if re.search(r"[*`#|\-]|\]\(|x\.org", text)] == []


def test_a_complete_block_is_never_changed_again(at: Browser) -> None:
    """So a long answer costs no more for each chunk than a short one."""
    script = """
        const root = document.createElement("div");
        const markdown = new page.Markdown(root);
        markdown.append("First **one**.\\n\\n- a\\n- b\\n\\nThen\\n\\n```\\n1\\n");
        markdown.render(true);
        const before = [...root.childNodes].slice(0, 3);
        const code = root.querySelector("code").firstChild;
        const observer = new MutationObserver(() => {});
        for (const node of before) observer.observe(node, { childList: true, characterData: true, subtree: true });
        for (const piece of ["2\\n", "3", "4\\n", "```\\n", "A new ", "paragraph", "\\n\\nand another"]) {
          markdown.append(piece);
          markdown.render(true);
        }
        const same = before.every((node, place) => root.childNodes[place] === node);
        const last = [...root.querySelectorAll("p")].map((node) => node.textContent);
        return [same, observer.takeRecords().length, root.querySelector("code").firstChild === code, code.data, last];
    """
    at.visit()
    assert at.module(script) == [
        *(True, 0, True, "1\n2\n34\n"),
        ["First one.", "Then", "A new paragraph", "and another"],
    ]


def test_many_chunks_are_rendered_once_a_frame(at: Browser) -> None:
    """However many arrive at once, the page changes at most once per frame."""
    pieces = [f"{number} " for number in range(3000)]
    count = """
        window.changes = 0; window.frames = 0;
        const tick = () => { window.frames += 1; requestAnimationFrame(tick); };
        requestAnimationFrame(tick);
        new MutationObserver((records) => {
          if (records.some((record) => record.target.classList?.contains("text"))) window.changes += 1;
        }).observe(document.getElementById("messages"), { childList: true, subtree: true });
    """
    at.visit(Reply.sse(chat_events(pieces), event_per_write=False))
    at.js(count)
    at.talk("Hi")
    assert at.text(".answer .text") == "".join(pieces).strip()
    changes, frames = at.js("return [window.changes, window.frames]")
    assert 0 < changes <= frames + 2


def test_a_models_markup_stays_text(at: Browser) -> None:
    attack = (
        "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script><svg onload='window.hacked=1'>\n\n"
        "# <iframe srcdoc='<script>parent.hacked=1</script>'>\n\n- <b onclick=x>b</b>\n\n"
        "```<img src=x>\n</code></pre><script>window.hacked=1</script>\n```\n\n"
        "| <img src=x> | b |\n|---|---|\n| <script>1</script> | [c](javascript:window.hacked=1) |\n\n"
        '[d](JaVaScRiPt:window.hacked=1) [e](https://x.org" onclick="window.hacked=1) <javascript:window.hacked=1>\n'
    )
    call = {"index": 0, "id": "t", "type": "function", "function": {"name": "<img src=x>", "arguments": "<img src=x>"}}
    events = [delta(reasoning_content=attack), delta(content=attack), delta(tool_calls=[call])]
    at.visit(Reply.sse([*events, delta("stop")]))
    at.talk("<img src=x onerror='window.hacked=1'>")
    for _ in range(2):
        assert at.js("return window.hacked") is None
        found = at.js(
            "return [...document.querySelectorAll('#messages *, #conversations *')]"
            ".filter((node) => /^(img|script|iframe|b|style|object|form)$/i.test(node.tagName)).length"
        )
        assert found == 0
        links = at.js("return [...document.querySelectorAll('#messages a')].map((a) => a.href)")
        assert links == ["https://x.org/"] * 2  # the address in its text
        handlers = "return [...document.querySelectorAll('#messages *')].some((n) => n.onclick || n.onerror)"
        assert at.js(handlers) is False
        assert "<img src=x onerror='window.hacked=1'>" in at.text(".answer .text")
        assert at.text(".call .name") == "<img src=x>"
        at.driver.refresh()  # and so it is when it comes out of the storage
        at.until(lambda: at.all(".answer .text p"))


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remember", [False, True])
def test_the_page_asks_for_a_key_if_one_is_needed(at: Browser, remember: bool) -> None:
    at.allowed = (FAILED,)
    at.visit("Let in", keys={"me": hash_of(KEY)})
    at.until(lambda: at.one("#key-form").is_displayed())
    assert at.focus() == "key"
    at.keys("wrong", "\n")
    at.shows("#key-problem", "not accepted")
    at.one("#key").clear()
    at.one("#key").send_keys(KEY)
    if remember:
        at.click("#remember")
    at.click("#key-form button")
    at.until(lambda: not at.one("#key-form").is_displayed())
    assert at.focus() == "input"
    at.talk("Hi")
    assert at.text(".answer .text") == "Let in"
    stored = at.js("return [localStorage, sessionStorage].map((one) => one.getItem('anyllm.key'))")
    assert stored == ([KEY, None] if remember else [None, KEY])
    at.click("#open-settings")
    at.click("#forget-key")
    assert KEY not in at.js("return JSON.stringify([localStorage, sessionStorage])")


def test_a_question_rejected_without_a_key_is_sent_again(at: Browser) -> None:
    at.allowed = (FAILED,)
    at.serve("Let in", keys={"me": hash_of(KEY)})
    at.driver.get(f"{at.url}/icon.svg")
    at.js("localStorage.setItem('anyllm.settings', JSON.stringify({model: 'fast'}))")
    at.open()
    at.until(lambda: at.one("#key-form").is_displayed())
    at.talk("Hi", "error")
    at.until(lambda: at.focus() == "key")
    at.one("#key").send_keys(KEY, "\n")
    at.ends()
    assert at.text(".answer .text") == "Let in"
    assert len(at.all(".message")) == 2


def test_a_key_that_the_provider_refuses_is_not_the_users(at: Browser) -> None:
    at.allowed = (FAILED,)
    at.visit(Reply.error(401, {"error": {"message": "the host's key is wrong"}}))
    at.talk("Hi", "error")
    assert "the host's key is wrong" in at.text(".outcome-text")
    lists = "return performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/models')).length"
    at.until(lambda: at.js(lists) >= 2)
    assert not at.one("#key-form").is_displayed()


# -- models and settings -----------------------------------------------------------------------------------------------


def test_a_model_is_found_by_typing_and_remembered(at: Browser) -> None:
    at.visit("Hi", models={"smart-large": "openai/gpt-x", "smart-small": "anthropic/claude-x"})
    at.until(lambda: at.js("return document.getElementById('model').value") == "fast")
    at.click("#model")
    at.shows("#models", "smart-large")
    assert [group.text for group in at.all("#models .provider")] == ["compatible", "openai", "anthropic"]
    at.keys("smart ant")
    assert [option.text for option in at.all(".option")] == ["smart-small", "Use “smart ant”"]
    at.keys(ENTER)
    assert at.value("#model") == "smart-small"
    assert at.focus() == "input"
    at.open()
    assert at.value("#model") == "smart-small"
    at.click("#model")
    at.keys("compatible/other", ENTER)
    assert at.value("#model") == "compatible/other"
    at.click("#model")
    at.keys("nothing", ESCAPE)
    assert at.value("#model") == "compatible/other"
    assert not at.one("#models").is_displayed()
    at.keys(ARROW_DOWN, ARROW_DOWN)
    active = at.one("#model").get_attribute("aria-activedescendant")
    assert at.text(f"#{active}") in ("fast", "smart-large")


def test_an_unlisted_model_can_be_used(at: Browser) -> None:
    at.serve("Hi", models={})
    wild = {"wild-*": {"model": "compatible/*", "base_url": at.upstream.url}}
    at.gateway._models = type(at.gateway._models)(Config(server=at.gateway.config.server, models=wild))
    at.open()
    at.click("#model")
    at.shows("#models", "No models are listed")
    at.keys("wild-thing", ENTER)
    at.talk("Hi")
    assert at.request_body()["model"] == "thing"


def test_settings_are_sent_and_stored(at: Browser) -> None:
    at.visit("Hi")
    at.click("#open-settings")
    at.one("#system").send_keys("Be brief.")
    at.one("#temperature").send_keys("0.3")
    at.click("#settings .icon-button")
    at.until(lambda: not at.one("#settings").is_displayed())
    at.driver.refresh()
    at.talk("Hi")
    assert at.request_body()["temperature"] == 0.3
    assert at.request_body()["messages"][0] == {"role": "system", "content": "Be brief."}
    at.click("#open-settings")
    at.one("#temperature").clear()
    at.one("#system").clear()
    at.click("#settings .icon-button")
    at.ask("Again")
    at.until(lambda: len(at.upstream.requests) == 2)
    assert "temperature" not in at.request_body()
    assert [message["role"] for message in at.request_body()["messages"]] == ["user", "assistant", "user"]
    at.ends()


# -- conversations -----------------------------------------------------------------------------------------------------


def test_a_conversation_survives_a_reload(at: Browser) -> None:
    at.visit(Reply.sse([delta(reasoning_content="Hm"), *chat_events("**One**")]), "Two")
    at.talk("First")
    at.driver.refresh()
    at.shows(".answer .text strong", "One")
    assert at.text(".user") == "First"
    assert "1 in" in at.text(".figures")
    assert at.all(".reasoning")[0].is_displayed()
    at.ask("Second")
    at.until(lambda: len(at.all(".message")) == 4)
    at.ends()
    messages = [(message["role"], message["content"]) for message in at.request_body()["messages"]]
    assert messages == [("user", "First"), ("assistant", "**One**"), ("user", "Second")]


def test_conversations_can_be_named_deleted_and_had_back(at: Browser) -> None:
    at.visit("Hi")
    for question in ("One", "Two"):
        at.click("#new")
        at.talk(question)
    assert at.text("#conversations .title") == "Two\nOne"
    at.actions().double_click(at.all("#conversations .open")[1]).perform()
    at.keys("Renamed", ENTER)  # all of the old name is selected
    assert at.text("#conversations .title") == "Two\nRenamed"
    assert at.text(".user") == "One"
    at.actions().move_to_element(at.all("#conversations li")[0]).perform()
    at.all("#conversations .rename")[0].click()
    at.keys("given up", ESCAPE)
    at.driver.refresh()
    at.shows("#conversations", "Renamed")
    assert at.text("#conversations .title") == "Two\nRenamed"
    at.actions().move_to_element(at.all("#conversations li")[1]).perform()
    at.all("#conversations .delete")[1].click()
    assert at.text("#conversations .title") == "Two"
    assert at.all(".message") == []
    assert at.focus() == "open"
    at.click("#notice-action")
    assert at.text("#conversations .title") == "Two\nRenamed"
    assert at.text(".user") == "One"


def test_an_answer_goes_on_while_another_conversation_is_looked_at(at: Browser) -> None:
    reply, rest = held(["Slow ", "answer"])
    at.visit(reply, "Quick")
    at.ask("One")
    at.shows(".answer .text", "Slow")
    at.click("#new")
    at.talk("Two")
    assert at.text(".answer .text") == "Quick"
    at.all("#conversations .open")[1].click()
    assert at.text(".answer .text") == "Slow"
    assert at.one("#stop").is_displayed()
    rest.set()
    at.ends()
    assert at.text(".answer .text") == "Slow answer"


def test_the_last_message_can_be_changed_and_sent_again(at: Browser) -> None:
    at.visit("One", "Two", "Three")
    at.talk("First")
    at.ask("Secnd")
    at.until(lambda: at.text(".answer .text") == "One\nTwo")
    at.ends()
    assert [button.is_displayed() for button in at.all(".edit")] == [False, True]
    at.all(".edit")[1].click()
    assert at.value("#input") == "Secnd"
    at.one("#input").clear()
    at.ask("Second")
    at.until(lambda: at.text(".answer .text") == "One\nThree")
    at.ends()
    assert at.text(".bubble") == "First\nSecond"
    assert [message["content"] for message in at.request_body()["messages"]] == ["First", "One", "Second"]


def test_answers_and_code_can_be_copied(at: Browser) -> None:
    at.visit("**Say**\n\n```sh\nls -l\n```\n")
    at.cdp("Browser.grantPermissions", origin=at.url, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    at.talk("Hi")
    read = "const done = arguments[0]; navigator.clipboard.readText().then(done, (e) => done('' + e))"
    at.click(".answer .copy")
    at.shows("#status", "Copied")
    assert at.driver.execute_async_script(read) == "**Say**\n\n```sh\nls -l\n```\n"
    at.click(".copy-code")
    at.until(lambda: at.driver.execute_async_script(read) == "ls -l\n")


@pytest.mark.parametrize("error", ["QuotaExceededError", "SecurityError"])
def test_the_page_works_without_storage(at: Browser, error: str) -> None:
    source = f"Storage.prototype.setItem = () => {{ throw new DOMException('no', '{error}'); }};"
    if error == "SecurityError":
        no = "{ get() { throw new DOMException('no', 'SecurityError'); } }"
        source += f"Object.defineProperty(window, 'localStorage', {no});"
    script = at.cdp("Page.addScriptToEvaluateOnNewDocument", source=source)
    try:
        at.visit("Still here")
        at.talk("Hi")
        assert at.text(".answer .text") == "Still here"
        assert ("no more room" if error == "QuotaExceededError" else "keeps nothing") in at.text("#notice")
        at.click("#new")
        at.click("#conversations .open")
        assert at.text(".answer .text") == "Still here"
    finally:
        at.cdp("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])


# -- for everybody -----------------------------------------------------------------------------------------------------


def test_the_keyboard_is_enough(at: Browser) -> None:
    slow, rest = held(["One ", "two"])
    silent, _ = held(["One ", "two"])
    at.visit(slow, silent, "One two")
    at.js("window.lost = 0; document.addEventListener('focusout', () => requestAnimationFrame(() => {"
          "if (document.activeElement === document.body) window.lost += 1; }));")  # fmt: skip
    at.until(lambda: at.js("return document.getElementById('model').value"))
    at.keys("Line one")
    at.with_shift(ENTER)
    at.keys("line two", ENTER)
    at.shows(".answer .text", "One")
    assert at.request_body()["messages"][0]["content"] == "Line one\nline two"
    at.keys(ENTER)
    assert len(at.all(".message")) == 2  # an answer is on its way
    rest.set()
    at.ends()
    assert at.focus() == "input"

    at.keys("Again", ENTER)
    at.until(lambda: len(at.all(".message")) == 4)
    at.shows(".answer:last-child .text", "One")
    at.keys(TAB)
    assert at.focus() == "stop"
    at.keys(ENTER)
    at.ends("stopped")
    assert at.focus() == "input"

    for _ in range(30):
        at.with_shift(TAB)
        outline = at.js("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or at.focus() in ("BODY", "scroll"), at.focus()
        if "again-now" in at.focus():
            break
    at.keys(ENTER)
    at.ends()
    assert at.focus() == "input"
    assert at.js("return window.lost") == 0


def test_every_control_has_a_name_and_can_be_reached(at: Browser) -> None:
    at.visit("Hi")
    at.talk("Hi")
    reached = set()
    for _ in range(40):
        at.keys(TAB)
        reached.add(at.focus())
    names = ("new", "open", "rename", "delete", "model", "open-settings", "edit", "copy", "again", "input", "send")
    for name in names:
        assert any(name in one.split() or name in one.split("-") or name == one for one in reached), (name, reached)
    tree = at.cdp("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "textbox", "combobox", "checkbox", "link", "dialog")
    controls = [node for node in tree if node.get("role", {}).get("value") in roles and not node["ignored"]]
    assert len(controls) > 8
    assert [node for node in controls if not node.get("name", {}).get("value")] == []


def test_screen_readers_hear_the_state_of_an_answer_not_every_word(at: Browser) -> None:
    reply, rest = held(["One ", "two ", "three"])
    at.visit(reply)
    at.js("""
        window.status_texts = [];
        const status = document.getElementById("status");
        const note = () => window.status_texts.push(status.textContent);
        new MutationObserver(note).observe(status, { childList: true, characterData: true, subtree: true });
    """)
    at.ask("Hi")
    at.until(lambda: "The answer is coming" in at.js("return window.status_texts"))
    rest.set()
    at.ends()
    at.until(lambda: at.js("return window.status_texts.at(-1)") == "The answer is complete")
    assert at.js("return window.status_texts") == ["Asking fast", "The answer is coming", "The answer is complete"]
    assert at.one("#status").get_attribute("aria-live") == "polite"
    live = "[...document.querySelectorAll('[aria-live], [role=log], [role=status], [role=alert]')]"
    assert at.js(f"return {live}.some((node) => node.contains(document.getElementById('messages')))") is False
    assert at.js(f"return {live}.some((node) => document.getElementById('messages').contains(node))") is False


def test_a_phone_needs_no_scrolling_sideways(at: Browser) -> None:
    wide = f"{'word' * 60} `{'code' * 60}`\n\n```\n{'x' * 400}\n```\n\n| {' | '.join('abcdefgh')} |\n|{'---|' * 8}\n"
    wide += f"| {' | '.join(['a longer cell'] * 8)} |\n\n- {'item' * 60}\n\n# {'Head' * 40}\n\n"
    wide += f"https://x.org/{'a' * 200}\n"
    at.cdp("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    models = {"a-very-long-name-of-a-model-" + "x" * 60: "openai/gpt-x"}
    at.visit(Reply.sse(chat_events([wide])), models=models)

    def fits() -> None:
        assert at.js("return innerWidth") == 360
        assert at.js("return document.documentElement.scrollWidth") <= 360
        beyond = at.js(
            "return [...document.querySelectorAll('#main, #main *, #settings *')].filter((node) => "
            "!node.closest('pre, .table, svg, .unseen') && node.getClientRects().length && "
            "node.getBoundingClientRect().right > 360.5).map((node) => node.outerHTML.slice(0, 80))"
        )
        assert beyond == []

    at.talk("long" * 100)
    fits()
    scroll = "const [node] = arguments; node.scrollLeft = 50; return node.scrollLeft"
    assert [at.js(scroll, node) for node in at.all(".answer pre, .answer .table")] == [50, 50]
    at.click("#model")
    at.until(lambda: at.one("#models").is_displayed())
    fits()
    at.click("#input")
    at.click("#open-settings")
    fits()
    at.click("#settings .icon-button")
    assert not at.one("#sidebar").is_displayed()
    at.click("#open-sidebar")
    at.until(lambda: at.one("#new").is_displayed())
    assert at.focus() == "new"
    fits()
    at.until(lambda: at.js("return document.getElementById('sidebar').getBoundingClientRect().left") == 0)
    at.click("#conversations .open")
    at.until(lambda: not at.one("#sidebar").is_displayed())
    assert at.js("return document.getElementById('composer').getBoundingClientRect().bottom") <= 740


#: The contrast of each visible text with its background, if it is below WCAG's AA.
CONTRAST = """
    const parse = (color) => color.match(/[\\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
      .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
      .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0);
    const behind = (node) => {
      for (let at = node; at; at = at.parentElement) {
        const color = parse(getComputedStyle(at).backgroundColor);
        if ((color[3] ?? 1) === 1) return color;
      }
      return [255, 255, 255];
    };
    const low = [];
    let count = 0;
    for (const node of document.querySelectorAll("body *")) {
      const shown = node.getClientRects().length && getComputedStyle(node).visibility === "visible";
      const says = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
      if (!shown || !(says || node.matches("svg, input, textarea")) || node.closest(".unseen")) continue;
      count += 1;
      const both = [luminance(parse(getComputedStyle(node).color)), luminance(behind(node))];
      const ratio = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
      if (ratio < 4.5) low.push(`${node.outerHTML.slice(0, 80)}: ${ratio.toFixed(2)}`);
    }
    return [count, low];
"""


BACKGROUND = "return getComputedStyle(document.body).backgroundColor"


def test_light_and_dark_can_both_be_read(at: Browser) -> None:
    answer = "Text, `code`, [a link](https://x.org).\n\n> quoted\n\n```py\nx\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    broken = [delta(reasoning_content="Hm"), *chat_events([answer])[:2], {"error": {"message": "it broke"}}]
    backgrounds = {}
    at.serve(Reply.sse(broken, done=False))
    for scheme in ("light", "dark"):
        at.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        at.open()
        if scheme == "light":
            at.talk("Hi", "error")
        else:
            at.until(lambda: at.state() == "error")
        at.click(".reasoning summary")
        count, low = at.js(CONTRAST)
        assert count > 20
        assert low == []
        at.click("#open-settings")
        assert at.js(CONTRAST)[1] == []
        backgrounds[scheme] = at.js(BACKGROUND)
        at.click("#settings .icon-button")
    assert backgrounds["light"] == "rgb(255, 255, 255)"
    assert max(map(int, re.findall(r"\d+", backgrounds["dark"]))) < 40
    at.click("#open-settings")
    at.js("document.querySelector('[name=theme][value=light]').click()")
    assert at.js(BACKGROUND) == backgrounds["light"]
    at.open()
    assert at.js(BACKGROUND) == backgrounds["light"]


def test_nothing_moves_with_reduced_motion(at: Browser) -> None:
    at.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    at.visit(Reply.sse([Stall()]))
    at.ask("Hi")
    at.until(lambda: at.all(".waiting"))
    assert at.js("return document.getAnimations().length") == 0
    at.click("#stop")
    at.ends("stopped")


def test_the_page_scrolls_only_for_readers_at_the_bottom(at: Browser) -> None:
    events = chat_events(["line\n\n" * 80, "line\n\n" * 80, "line\n\n" * 80])
    more, rest = threading.Event(), threading.Event()
    at.visit(Reply.sse([*events[:2], Stall(more), events[2], Stall(rest), *events[3:]]))
    at.ask("Hi")
    lines = "return document.querySelectorAll('.answer .text p').length"
    gap = "const s = document.getElementById('scroll'); return s.scrollHeight - s.scrollTop - s.clientHeight"
    at.until(lambda: at.js(lines) == 80 and at.js(gap) < 2)
    at.js("document.getElementById('scroll').scrollTop = 100")
    at.until(lambda: at.one("#to-bottom").is_displayed())
    more.set()
    at.until(lambda: at.js(lines) == 160)
    assert at.js("return document.getElementById('scroll').scrollTop") == 100
    at.click("#to-bottom")
    at.until(lambda: at.js(gap) < 2)
    rest.set()
    at.ends()
    at.until(lambda: at.js(lines) == 240 and at.js(gap) < 2)
