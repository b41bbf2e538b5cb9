"""Files in object stores and on web servers: addresses, listings, reading, writing and error messages."""
