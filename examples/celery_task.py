"""
Stream in a Celery task: `celery -A celery_task worker`, then `ask.delay("Hello")`. Run as a program, it asks once.

A soft time limit, or `revoke(terminate=True, signal="SIGUSR1")`, raises SoftTimeLimitExceeded in the loop; the end of
the block then cancels the call.
"""

import os

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

import anyllm

app = Celery("celery_task", broker=os.environ.get("CELERY_BROKER_URL"), backend=os.environ.get("CELERY_RESULT_BACKEND"))


@app.task(soft_time_limit=120)
def ask(question, timeout=100):
    """The answer, or the part of it that arrived in time."""
    client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), max_tokens=100)
    answer = ""
    try:
        with client.chat_stream(question, timeout=timeout) as stream:  # cancelled at the end of the block
            for chunk in stream:
                answer += chunk.content  # or write it to where a page reads it
    except (SoftTimeLimitExceeded, anyllm.DeadlineExceeded):
        answer += " [out of time]"
    return answer


if __name__ == "__main__":
    print(ask.apply(args=["Write one sentence about the sea."]).get())
