"""What `jobs.encode` writes: tables of features, and maps of pictures; and codes read back from tables."""
