"""HTTP to a platform, the same for each of them: a pooled client, its errors, and limits on what it reads."""
