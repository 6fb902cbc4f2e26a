"""Child processes: one runner for all of them, and the lock that makes one order run once."""
