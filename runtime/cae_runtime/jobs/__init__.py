"""Work on files and folders: plans, images, videos, reports."""
