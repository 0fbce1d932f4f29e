"""What is run by hand is no test."""

collect_ignore = ["fuzz.py", "soak.py"]
