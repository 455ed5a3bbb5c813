"""Tests behind real proxies, and on every kind of listening socket."""
