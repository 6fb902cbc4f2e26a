"""Measurements, one module per question: ``./dev bench [NAMES] [--quick] [--json]``.

Every module measures in one run what it compares, on the machine it runs on, and asserts nothing: limits of
time belong here and not in tests. What it writes lies in a temporary folder and is removed.
"""
