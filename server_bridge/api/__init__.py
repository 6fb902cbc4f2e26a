"""API v1: a router per resource. It writes orders and commands, and calls no engine."""
