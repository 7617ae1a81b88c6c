"""The server side of OpenAI's Responses: read the requests of clients, and write their answers."""
