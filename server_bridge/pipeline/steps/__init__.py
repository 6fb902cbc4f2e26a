"""The steps of an attempt, one module each. Every step first looks at what is there, then does the rest."""
