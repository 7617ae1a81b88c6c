"""OpenAI's Responses, in both directions."""
