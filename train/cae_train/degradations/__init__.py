"""What stands between a clean patch and the degraded one."""
