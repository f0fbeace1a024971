"""Industrial anomaly detection: good images in, one verified edge file out."""
