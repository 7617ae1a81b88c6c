"""An answer sentence by sentence, for example for speech output."""

import os

import anyllm
from anyllm.reading import sentences

client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), temperature=0.2)
text = client.stream("Say three short sentences about the sea.", max_tokens=100)
for number, sentence in enumerate(sentences(text), 1):
    print(number, sentence.strip())
