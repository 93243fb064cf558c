"""The engine: many prompts continued at once, each as if it were alone."""

from generation.engine.choose import Quantization
from generation.engine.engine import Engine
from generation.engine.request import Finish, Request, Token
from generation.engine.stream import TokenStream

__all__ = ["Engine", "Finish", "Quantization", "Request", "Token", "TokenStream"]
