"""What every window of the command shares: the window itself, its keys, and what is drawn over pictures."""
