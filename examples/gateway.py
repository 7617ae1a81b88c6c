"""A gateway inside a program: an Ollama client gets answers of any provider's model."""

import json
import os

import requests

from anyllm import gateway

models = {"assistant": os.environ.get("ANYLLM_MODEL", "local/smollm2")}
config = gateway.Config(server={"port": 0, "list_providers": False}, models=models)
with gateway.GatewayServer(gateway.Gateway(config)) as server, requests.Session() as session:
    session.trust_env = False  # no proxy within one program
    for model in session.get(f"{server.url}/api/tags").json()["models"]:
        print("model", model["name"])
    messages = [{"role": "user", "content": "Say hello."}]
    question = {"model": "assistant", "messages": messages, "options": {"num_predict": 50}}
    with session.post(f"{server.url}/api/chat", json=question, stream=True) as answer:
        for line in answer.iter_lines():
            print(json.loads(line)["message"]["content"], end="", flush=True)
    print()
