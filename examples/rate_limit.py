"""Limit requests and tokens per minute; clients share the limit, and calls wait for it."""

import os

import anyllm
from anyllm.limits import RateLimit, WaitTooLongError

model = os.environ.get("ANYLLM_MODEL", "local/smollm2")
limit = RateLimit(requests_per_minute=2, tokens_per_minute=20_000)  # usually the limits of your account
writer = anyllm.Client(model, rate_limit=limit, max_tokens=20)
critic = anyllm.Client(model, rate_limit=limit, max_tokens=20)

print(writer.chat("Say hello.", timeout=120).content)
print(critic.chat("Say goodbye.", timeout=120).content)
try:
    print(writer.chat("Say hello again.", timeout=1).content)  # with a longer timeout it would wait
except WaitTooLongError as error:
    print(f"not sent: the limit allows it in {error.seconds:.0f} seconds")
except anyllm.DeadlineExceeded:
    print("sent, because the first two calls took a minute; but not answered within a second")
