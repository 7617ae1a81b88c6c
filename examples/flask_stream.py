"""Stream to a browser from Flask: run it, and open http://127.0.0.1:5000/. Leaving the page cancels the call."""

import os

from flask import Flask, request

import anyllm
from anyllm import wsgi

app = Flask(__name__)

PAGE = """<!doctype html><meta charset="utf-8"><title>Ask</title>
<form><input name="q" size="60" value="Write one sentence about the sea."> <button>Ask</button></form><p></p><script>
document.forms[0].onsubmit = event => {
  event.preventDefault();
  const answer = document.querySelector("p"), form = new FormData(event.target);
  answer.textContent = "";
  const source = new EventSource("/ask?" + new URLSearchParams(form));
  source.onmessage = event => answer.textContent += JSON.parse(event.data).content;
  source.addEventListener("done", () => source.close());  // else the browser requests it again
  source.addEventListener("error", event => {
    source.close();
    answer.textContent += event.data ? " " + JSON.parse(event.data).error.message : " No answer.";
  });
};
</script>"""


@app.get("/")
def page():
    return PAGE


@app.get("/ask")
def ask():
    stream = anyllm.completion_stream(
        anyllm.Context(timeout=120),
        anyllm.CompletionParams(
            model=os.environ.get("ANYLLM_MODEL", "local/smollm2"),
            messages=[anyllm.Message.user(request.args.get("q", "Hello"))],
            max_tokens=300,
        ),
    )
    return wsgi.answer(stream)  # an error before the first content has its own status


if __name__ == "__main__":
    app.run(threaded=True)
