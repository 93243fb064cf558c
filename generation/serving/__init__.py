"""The server: a model over HTTP as OpenAI's API speaks it, and one page to chat with it."""
