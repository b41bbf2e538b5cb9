"""Addresses of files in object stores and on web servers, and what is done with these files."""
