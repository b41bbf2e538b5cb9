"""What is done with files and folders: plans, images, videos, reports."""
