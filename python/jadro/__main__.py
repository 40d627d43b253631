"""`python -m jadro` prints the configuration."""

from .config import show_config

show_config()
