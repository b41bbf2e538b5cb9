"""Image and video files restored, one by one or many: plan, read, restore, write, report."""
