"""Stream from Django, in one file: run it, then `curl -N "http://127.0.0.1:8000/ask?q=Hello"`. Ctrl-C there cancels."""

import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import StreamingHttpResponse
from django.urls import path

import anyllm
from anyllm import wsgi


def ask(request):
    stream = anyllm.completion_stream(
        anyllm.Context(timeout=120),
        anyllm.CompletionParams(
            model=os.environ.get("ANYLLM_MODEL", "local/smollm2"),
            messages=[anyllm.Message.user(request.GET.get("q", "Hello"))],
            max_tokens=300,
        ),
    )
    return StreamingHttpResponse(wsgi.body(stream), headers=wsgi.headers())


urlpatterns = [path("ask", ask)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1", "localhost"], SECRET_KEY="not used here")
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line([sys.argv[0], "runserver", "--noreload"])
