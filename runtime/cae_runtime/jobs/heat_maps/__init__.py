"""What `jobs.anomaly` writes: heat maps, raw maps, masks, the table of scores and the contact sheet."""
