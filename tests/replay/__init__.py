"""Replayed microscopes: what they write, when, and what goes wrong meanwhile, against the agent's real parts.

Real files in a temporary folder, the real scanner, settle rule, machine store, clerk, outbox and sender, a
bridge stub on a loopback socket; only time is not real. ``./dev replay`` plays all of them.
"""
