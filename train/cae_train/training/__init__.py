"""The loop, what it minimizes, and the run folder that it leaves."""
