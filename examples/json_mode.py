"""JSON, parsed while it arrives, and an answer as an instance of a class."""

import os

import attrs

import anyllm
from anyllm.options import JSON_MODE


@attrs.define
class Product:
    name: str
    price: float


client = anyllm.Client(os.environ.get("ANYLLM_MODEL", "local/smollm2"), temperature=0)
question = 'Give a product as JSON with "name" (a string) and "price" (a number).'

stream = client.chat_stream(question, response_format={"type": "json_object"}, options=JSON_MODE, max_tokens=60)
for event in stream.events():
    if event.type == "text":
        print("so far:", event.value)
print("whole:", stream.completion.get_json())

product = client.chat(question, response_format=Product, max_tokens=60).parsed
print(f"{product.name} costs {product.price}")
