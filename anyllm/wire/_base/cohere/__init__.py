"""Parts that both versions of Cohere's chat API share."""
