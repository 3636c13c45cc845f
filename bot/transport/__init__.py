"""HTTP to any platform: a pooled client, descriptions of its errors, and limits on what it reads."""
