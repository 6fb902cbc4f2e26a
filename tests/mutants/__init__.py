"""Defects that the suite must notice: `./dev test --mutants`.

Each mutant is one edit in a copy of the product. The tests that guard that promise run against the copy and
must fail; the same tests run against an unchanged copy first and must pass, or a failure would mean nothing.
"""
