"""No more requests and tokens a minute than a provider allows; clients share the limit, and a call waits its turn."""

import os

import anyllm
from anyllm.limits import RateLimit, WaitTooLongError

model = os.environ.get("ANYLLM_MODEL", "local/smollm2")
limit = RateLimit(requests_per_minute=2, tokens_per_minute=20_000)  # in a program it is what your contract says
writer = anyllm.Client(model, rate_limit=limit, max_tokens=20)
critic = anyllm.Client(model, rate_limit=limit, max_tokens=20)

print(writer.chat("Say hello.", timeout=120).content)
print(critic.chat("Say goodbye.", timeout=120).content)
try:
    print(writer.chat("Say hello again.", timeout=1).content)  # with enough time it would wait for the next minute
except WaitTooLongError as error:
    print(f"not sent: the limit would let it go in {error.seconds:.0f} seconds")
except anyllm.DeadlineExceeded:
    print("sent, because the model took a minute for the first two; but not answered within a second")
