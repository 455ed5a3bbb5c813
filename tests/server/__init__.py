"""Tests that run the real thing: server processes, sockets and signals."""
